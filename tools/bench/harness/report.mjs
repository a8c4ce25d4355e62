// The table and the last JSON line of a benchmark: machine, limit, and a row for each pair of ours and a peer.
// `ratio` above 1 always means that we are better.

import { describeMachine, measurePeak, watchLoad } from '../machine-peak/peak.mjs';
import { ratioOf } from './compare.mjs';
import { rounded } from './numbers.mjs';
import { cpuSecondsOfSides } from './side.mjs';

export class Report {
  #bench;
  #threadCounts;
  #limit;
  #loadOfOthers;
  #rows = [];

  /** Measures the machine's peak for these thread counts, then begins to watch the load. */
  constructor(bench, threadCounts) {
    this.#bench = bench;
    this.#threadCounts = threadCounts;
    this.#limit = measurePeak(threadCounts);
    this.#loadOfOthers = watchLoad(cpuSecondsOfSides);
  }

  /** Multiply-adds a second that so many threads can do, in GFLOP/s; null without a compiler. */
  gflops(threads) {
    return this.#limit.gflops[threads] ?? null;
  }

  /**
   * A row from two sides of `compare`: rates in `unit`, `work` of them a call.
   *
   * @param {{ name: string, unit: string, work: number, flops?: number, threads: number, ours: object,
   *   peer: object, extra?: object, share?: number | null }} row `flops` a call, for the share of the peak; `share` of
   *   another limit
   */
  addRates({ name, unit, work, flops, threads, ours, peer, extra = {}, share }) {
    const peak = this.#limit.gflops[threads];
    const gflops = (side) => (flops && side.seconds ? rounded(flops / side.seconds / 1e9) : null);
    this.add({
      case: name,
      unit,
      ours: ours.seconds ? work / ours.seconds : null,
      peer: peer.seconds ? work / peer.seconds : null,
      peerName: peer.name ?? null,
      ratio: ratioOf(ours, peer),
      shareOfLimit: share ?? (flops && ours.seconds && peak ? flops / ours.seconds / 1e9 / peak : null),
      ...(flops ? { oursGflops: gflops(ours), peerGflops: gflops(peer) } : {}),
      ...(ours.seconds ? { oursMilliseconds: rounded(ours.seconds * 1000) } : {}),
      ...(peer.seconds ? { peerMilliseconds: rounded(peer.seconds * 1000) } : {}),
      ...extra,
      ...(ours.why || peer.why ? { why: ours.why ?? peer.why } : {}),
    });
  }

  /** A row for the largest resident sets of two sides. */
  addMemory(name, ours, peer) {
    if (!ours.megabytes || !peer.megabytes) return;
    const ratio = peer.megabytes / ours.megabytes;
    const row = { case: name, unit: 'MB peak', ours: ours.megabytes, peer: peer.megabytes };
    this.add({ ...row, peerName: peer.name, ratio });
  }

  /** A row as the contract has it; numbers are rounded here. It is also shown at once, on standard error. */
  add(row) {
    const { ours, peer, ratio = null, shareOfLimit = null, peerName = null } = row;
    const round = (x) => (x === null || x === undefined ? null : rounded(x));
    const full = {
      ...row,
      ours: round(ours),
      peer: round(peer),
      peerName,
      ratio: ratio === null ? null : Number(ratio.toFixed(2)),
      shareOfLimit: shareOfLimit === null ? null : Number(shareOfLimit.toFixed(3)),
    };
    this.#rows.push(full);
    process.stderr.write(`${line(full)}\n`);
  }

  /** Prints everything. */
  finish() {
    const { gflops, why } = this.#limit;
    const machine = { ...describeMachine(), ...this.#loadOfOthers(), peakGflops: gflops };
    if (why) machine.peakWhy = why;
    const peaks = this.#threadCounts.map((n) => `${gflops[n] ?? 'unknown'} (${n}t)`).join(', ');
    console.log(
      `${machine.cpu}, ${machine.cores} cores, Node ${machine.node}; load ${machine.load}, others kept ` +
        `${machine.busyCoresOfOthers} cores busy`,
    );
    console.log(`f32 multiply-add peak, GFLOP/s: ${peaks}${why ? `, ${why}` : ''}\n`);
    console.log(line({ case: 'case', unit: 'unit', ours: 'ours', peer: 'peer', ratio: 'ratio' }, 'of peak'));
    for (const row of this.#rows) console.log(line(row));
    console.log();
    console.log(JSON.stringify({ bench: this.#bench, machine, results: this.#rows }));
  }
}

function line(row, share = percent(row.shareOfLimit)) {
  const cell = (x, width) => String(x ?? '-').padStart(width);
  const numbers = `${cell(row.ours, 10)}${cell(row.peer, 10)}${cell(row.ratio, 8)}${cell(share, 9)}`;
  const milliseconds = [row.oursMilliseconds, row.peerMilliseconds].filter((x) => x !== undefined);
  const notes = [
    milliseconds.length > 0 ? `${milliseconds.join(' and ')} ms` : null,
    row.peerName,
    row.note,
    row.why,
  ].filter(Boolean);
  return `${row.case.padEnd(60)}${row.unit.padEnd(10)}${numbers}  ${notes.join('; ')}`.trimEnd();
}

function percent(share) {
  return share === null || share === undefined ? null : `${Math.round(share * 100)} %`;
}
