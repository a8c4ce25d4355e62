/** The rows that layers with windows read and write in a batch, on the device. */
import type { Tensor } from '@minke/tensor';

/** Ranges on the device. */
export interface SplitRanges {
  /** i32 [N, 4] */
  readonly parts: Tensor;
  /** [first, end), i32 [N, 2], for backends without the fused op. */
  readonly visible: Tensor | null;
  /** [first, near), i32 [N, 2], likewise. */
  readonly far: Tensor | null;
}

/** Ranges of a global or hybrid layer. */
export interface FarRows {
  /** Rows of the cache. */
  readonly cached: SplitRanges;
  /** Rows of the token's run when the run is fresh, else rows of its sequence. */
  readonly ofRun: SplitRanges;
}

/** The ring's part of a batch. */
export interface RingRows {
  /** Slot of each token, or -1 where a later one takes it; i32 [N]. */
  readonly writes: Tensor;
  /** Slots that each token attends to, i32 [N, window + 63]: for steps of one token a sequence. */
  readonly named: Tensor | null;
  /** For longer chunks: rows of the ring to copy out, i32 [O]. */
  readonly old: Tensor | null;
  /** Of those and the new rows after them, their order by sequence and position, i32 [O + N]; null: as they are. */
  readonly order: Tensor | null;
  /** Rows of that order, or of those that a token names. */
  readonly ranges: SplitRanges;
}

export interface WindowBatch {
  readonly global: FarRows;
  readonly hybrid: FarRows;
  readonly ring: RingRows;
  /** log(1 + position / window), [N, 1]. */
  readonly lengths: Tensor;
}
