/**
 * The GPT-2 byte alphabet: 256 printable characters that stand for the 256 bytes, so that a byte-level
 * vocabulary can be written as JSON text (Radford et al. 2019, `bytes_to_unicode` in openai/gpt-2).
 *
 * Bytes 33-126, 161-172 and 174-255 stand for themselves (as code points); the other 68 map to U+0100
 * onwards in order of the byte. A space is `Ġ` (U+0120), a newline `Ċ` (U+010A).
 */

/** Character of each byte: `byteToChar[0x20] === 'Ġ'`. */
export const byteToChar: readonly string[] = buildAlphabet();

/** Byte of each character of the alphabet; the inverse of {@link byteToChar}. */
export const charToByte: ReadonlyMap<string, number> = new Map(byteToChar.map((char, byte) => [char, byte]));

function buildAlphabet(): string[] {
  const chars: string[] = [];
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    chars.push(String.fromCharCode(printable ? byte : next++));
  }
  return chars;
}

const encoder = new TextEncoder();

/** Bytes of a vocabulary entry written in the byte alphabet, or of its UTF-8 if it is not. */
export function bytesOfToken(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = charToByte.get(token[i]!);
    if (byte === undefined) return encoder.encode(token);
    bytes[i] = byte;
  }
  return bytes;
}

/** Writes bytes in the byte alphabet: those of ` é` as `ĠÃ©`. */
export function inByteAlphabet(bytes: Uint8Array, from = 0, to = bytes.length): string {
  let out = '';
  for (let at = from; at < to; at++) out += byteToChar[bytes[at]!];
  return out;
}
