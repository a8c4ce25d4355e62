/**
 * Decompresses Snappy's raw format (https://github.com/google/snappy/blob/main/format_description.txt), every length and
 * offset checked before it is used: damaged bytes are refused, not read for ever.
 */
import { MinkeError } from '@minke/core';

const damaged = (what: string) =>
  new MinkeError('invalid-file', `snappy: expected whole compressed bytes, got ${what}`);

/**
 * @param length of what comes out, as its container says
 * @throws MinkeError `invalid-file` for bytes that are not the compression of so many
 */
export function unsnappy(bytes: Uint8Array, length: number): Uint8Array {
  let at = 0;
  const byte = (): number => {
    if (at >= bytes.length) throw damaged('an early end');
    return bytes[at++] as number;
  };
  const little = (count: number): number => {
    let value = 0;
    for (let i = 0; i < count; i++) value += byte() * 2 ** (8 * i);
    return value;
  };
  let stated = 0;
  for (let shift = 0; ; shift += 7) {
    const part = byte();
    stated += (part & 127) * 2 ** shift;
    if (part < 128) break;
    if (shift > 28) throw damaged('a length of more than 32 bits');
  }
  if (stated !== length) throw damaged(`a length of ${stated} for ${length} bytes`);
  const out = new Uint8Array(length);
  let done = 0;
  while (at < bytes.length) {
    const tag = byte();
    const kind = tag & 3;
    const high = tag >> 2;
    if (kind === 0) {
      const size = (high < 60 ? high : little(high - 59)) + 1;
      if (size > bytes.length - at || size > length - done) throw damaged('a literal beyond the end');
      out.set(bytes.subarray(at, at + size), done);
      at += size;
      done += size;
      continue;
    }
    const size = kind === 1 ? (high & 7) + 4 : high + 1;
    const back = kind === 1 ? (tag >> 5) * 256 + byte() : little(kind === 2 ? 2 : 4);
    if (back === 0 || back > done) throw damaged('a copy from before the beginning');
    if (size > length - done) throw damaged('a copy beyond the end');
    // Byte by byte, as a copy may overlap what it writes.
    for (let i = 0; i < size; i++, done++) out[done] = out[done - back] as number;
  }
  if (done !== length) throw damaged(`${done} of ${length} bytes`);
  return out;
}
