/** `minke inspect`: what a model is and whether it fits this machine, from headers alone, before anything is fetched. */
import { MinkeError } from '@minke/core';
import type { Command } from 'commander';
import { machineMemory } from '../inspect/machine-fit.ts';
import { openInspected } from '../inspect/open-inspected.ts';
import { inspectReport, reportText } from '../inspect/report.ts';
import { interruptSignal, positiveInteger, printJson } from '../options.ts';

interface Options {
  readonly file?: string;
  readonly tensors?: boolean;
  readonly context?: number;
  readonly json?: boolean;
}

export function addInspect(program: Command): void {
  program
    .command('inspect')
    .description(
      'say what a model is and whether it fits this machine; of one on the hub only headers are read',
    )
    .argument(
      '<model>',
      'model folder, a .gguf file, a .safetensors file with config.json beside it, or a hub id: owner/name or owner/name@revision',
    )
    .option('--file <path>', 'the weight file to inspect, of a model that has several')
    .option('--tensors', 'list every tensor')
    .option('--context <n>', 'tokens of the conversation that is to fit; default: 4096', positiveInteger)
    .option('--json', 'print one object')
    .action(async (from: string, { file, tensors, context: tokens, json }: Options, command: Command) => {
      const model = await openInspected(from, { file, signal: interruptSignal() }).catch(
        (problem: unknown) => {
          // What was named is wrong, and no hub had to be asked to see that.
          if (!MinkeError.isInstance(problem) || problem.code !== 'invalid-argument' || 'problem' in problem)
            throw problem;
          return command.error(`error: ${problem.message}`);
        },
      );
      const most = model.config.maxPositions;
      if (tokens !== undefined && tokens > most)
        command.error(
          `error: --context: expected at most ${most} tokens (the model's context), got ${tokens}`,
        );
      const report = inspectReport(model, machineMemory(), { tensors, tokens });
      if (json) printJson(report);
      else process.stdout.write(reportText(report));
    });
}
