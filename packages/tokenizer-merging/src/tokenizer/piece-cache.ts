/**
 * Bounded cache from a pre-token to its ids: two generations of a map, the older dropped when the newer fills,
 * so the frequent pieces of ordinary text survive and memory stays fixed whatever is encoded.
 */

/** Pieces longer than this many UTF-16 units are not kept. */
const maxPieceLength = 64;

/** At most `2 * generation` pieces of at most 64 characters: about 10 MB at the default. */
export class PieceCache {
  private young = new Map<string, Int32Array>();
  private old = new Map<string, Int32Array>();

  constructor(private readonly generation = 32_768) {}

  get(piece: string): Int32Array | undefined {
    const found = this.young.get(piece);
    if (found !== undefined) return found;
    const older = this.old.get(piece);
    if (older !== undefined) this.keep(piece, older);
    return older;
  }

  set(piece: string, ids: Int32Array): void {
    // A slice of 13 or more characters keeps its whole source text alive in V8; concatenation copies it.
    if (piece.length <= maxPieceLength) this.keep(piece.length < 13 ? piece : ` ${piece}`.slice(1), ids);
  }

  private keep(piece: string, ids: Int32Array): void {
    if (this.young.size >= this.generation) {
      this.old = this.young;
      this.young = new Map();
    }
    this.young.set(piece, ids);
  }
}
