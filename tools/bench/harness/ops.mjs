// The run of an op benchmark: each case on 1 and 2 threads, ours beside the module of the same name in
// tools/bench/python, in GFLOP/s.

import { compare } from './compare.mjs';
import { quick, wanted } from './options.mjs';
import { Report } from './report.mjs';
import { startFastest, startNode } from './side.mjs';

const threadCounts = [1, 2];
const plan = quick
  ? { rounds: 5, roundSeconds: 0.1, budgetSeconds: 10 }
  : { rounds: 15, roundSeconds: 0.3, budgetSeconds: 60 };

/**
 * @param {{ bench: string, script: URL, cases: { name: string, wish: object, flops: number }[] }} options `script`
 *   is our side; `wish` is given to both sides
 */
export async function benchOps({ bench, script, cases }) {
  const report = new Report(bench, threadCounts);
  for (const { name, wish, flops } of cases)
    for (const threads of threadCounts) {
      const fullName = `${name} pytorch ${threads}t`;
      if (!wanted(fullName)) continue;
      const { ours, peer } = await compare(
        {
          ours: () => startNode(script, { ...wish, threads }),
          peer: () => startFastest(bench, { ...wish, threads }),
        },
        plan,
      );
      report.addRates({ name: fullName, unit: 'GFLOP/s', work: flops / 1e9, flops, threads, ours, peer });
    }
  report.finish();
}
