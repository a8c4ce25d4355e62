/**
 * Decoding token by token without ever splitting a character.
 *
 * A token may end inside a UTF-8 sequence; its bytes are held back until the character is complete. The
 * pushed strings and the flush join to exactly what `Tokenizer.decode` gives for all ids: U+FFFD appears
 * only for bytes that cannot be UTF-8 whatever follows, or for a character still incomplete at the flush.
 */

/** Turns a stream of ids into a stream of whole characters; made by `Tokenizer.streamDecoder()`. */
export class StreamDecoder {
  private decoder = newDecoder();

  /** `bytesOf(id)`: the bytes to append for an id, none for an id that is left out. */
  constructor(private readonly bytesOf: (id: number) => Uint8Array) {}

  /** Text completed by this token; often empty while a character is pending. */
  push(id: number): string {
    return this.decoder.decode(this.bytesOf(id), { stream: true });
  }

  /** Ends the stream: U+FFFD if a character was left incomplete, else nothing. The decoder can be used again. */
  flush(): string {
    const rest = this.decoder.decode();
    this.decoder = newDecoder();
    return rest;
  }
}

function newDecoder() {
  return new TextDecoder('utf-8', { ignoreBOM: true });
}
