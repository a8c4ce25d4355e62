import { auto } from '@minke/gpu-backends';
import { Arena, add, tanh } from '@minke/tensor';
import {
  DynamicTokenInflator,
  mergeStatistics,
  ratioLoss,
  SoftTokenMerger,
} from '@minke/tokenizer-merging/merging';

const backend = await auto();
const merger = SoftTokenMerger.init({ hiddenSize: 8, maxRun: 4 }, { backend });
const inflator = DynamicTokenInflator.init({ hiddenSize: 8, maxRun: 4 }, { backend });

// The states of two documents after the first layers: 10 and 6 tokens of width 8.
const arena = new Arena(backend, { grad: true });
const numbers = Array.from({ length: 16 * 8 }, (_, i) => Math.sin(i * i));
const h = arena.tensor(numbers, [16, 8]);

// Fewer entries through the middle layers (here one function), and back to every token.
const batch = { counts: [10, 6] };
const { entries, plan } = await merger.forward(h, batch);
const middle = add(entries, tanh(entries));
const y = inflator.forward(h, entries, middle, plan, batch);
console.log(y.shape, 'through', entries.shape, 'at positions', Array.from(plan.entryPosition).join(' '));

// What training adds to its loss, and what it logs.
const ratio = ratioLoss(plan, 2);
console.log((await ratio.read())[0], mergeStatistics(plan));
