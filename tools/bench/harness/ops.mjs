// The run of an op benchmark: each case on 1 and 2 threads, ours beside the module of the same name in
// tools/bench/python, in GFLOP/s.

import { compare } from './compare.mjs';
import { quick, wanted } from './options.mjs';
import { pytorchWays, startPytorch } from './pytorch.mjs';
import { Report } from './report.mjs';
import { startNode } from './side.mjs';

const threadCounts = [1, 2];
const plan = quick
  ? { rounds: 5, roundSeconds: 0.1, budgetSeconds: 10 }
  : { rounds: 15, roundSeconds: 0.3, budgetSeconds: 60 };

/**
 * @param {{ bench: string, script: URL, cases: { name: string, wish: object, flops: number }[],
 *   more?: (report: Report) => Promise<void> }} options `script` is our side; `wish` is given to both sides; `more`
 *   adds rows of its own
 */
export async function benchOps({ bench, script, cases, more }) {
  const report = new Report(bench, threadCounts);
  for (const { name, wish, flops } of cases)
    for (const threads of threadCounts) {
      const caseName = (way) => `${name} pytorch${way} ${threads}t`;
      const ways = pytorchWays.filter((way) => wanted(caseName(way)));
      if (ways.length === 0) continue;
      const starts = { ours: () => startNode(script, { ...wish, threads }) };
      for (const way of ways) starts[way] = () => startPytorch(bench, way, { ...wish, threads });
      const { ours, ...peers } = await compare(starts, plan);
      const work = flops / 1e9;
      for (const way of ways)
        report.addRates({
          name: caseName(way),
          unit: 'GFLOP/s',
          work,
          flops,
          threads,
          ours,
          peer: peers[way],
        });
    }
  await more?.(report);
  report.finish();
}
