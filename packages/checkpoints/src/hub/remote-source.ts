/**
 * A file on a hub as a `ByteSource`: each read is a range of it, nothing is kept but a window, so that what is read front to
 * back in small pieces, as headers are, costs few requests. Parts have no digest: only sizes and entity tags are checked.
 */
import { type ByteSource, check } from '@minke/core';
import { type RangeRequest, readPart } from './ranges.ts';

/** Bytes of a request at least: the header of most shards in one. */
const windowBytes = 256 << 10;

/** @param onReceived told the bytes of each piece that came */
export function remoteSource(request: RangeRequest, onReceived: (bytes: number) => void): ByteSource {
  const { size } = request.file;
  let [start, window] = [0, new Uint8Array(0)];
  return {
    size,
    async read(offset, length) {
      check(
        offset >= 0 && length >= 0 && offset + length <= size,
        () =>
          `remoteSource: expected a range within ${size} bytes, got offset ${offset} and length ${length}`,
      );
      if (offset < start || offset + length > start + window.length) {
        // What is in the window already does not come again.
        const kept =
          offset >= start ? window.subarray(Math.min(offset - start, window.length)) : new Uint8Array(0);
        const from = offset + kept.length;
        const end = Math.min(size, Math.max(offset + length, from + windowBytes));
        const bytes = new Uint8Array(end - offset);
        bytes.set(kept);
        let filled = kept.length;
        for await (const chunk of readPart(request, from, end)) {
          bytes.set(chunk, filled);
          filled += chunk.length;
          onReceived(chunk.length);
        }
        [start, window] = [offset, bytes];
      }
      return window.slice(offset - start, offset - start + length);
    },
    async close() {
      window = new Uint8Array(0);
    },
  };
}
