/**
 * `minke pull`: a model from a hub into the cache. Ctrl-C keeps what came; the same command goes on.
 */
import { isHubId, pullModel } from '@minke/checkpoints/hub';
import { MinkeError } from '@minke/core';
import { type Command, InvalidArgumentError } from 'commander';
import { progressLine } from '../eval-progress.ts';
import { interruptSignal, printJson } from '../options.ts';
import { PullBar } from '../pull-bar.ts';

interface Options {
  readonly include?: string[];
  readonly json?: boolean;
}

export function addPull(program: Command): void {
  program
    .command('pull')
    .description('fetch a model from the hub into the cache, or what is missing of it, and print its folder')
    .argument('<id>', 'owner/name or owner/name@revision', hubId)
    .option(
      '--include <pattern...>',
      'files to fetch, for example "*.json"; default: all, without doubles of safetensors in other formats',
    )
    .option('--json', 'print one object { id, revision, commit, folder, files, bytes, received }')
    .addHelpText(
      'after',
      '\nHF_ENDPOINT names another hub, HF_TOKEN the token for private and gated models, HF_HOME or HF_HUB_CACHE another cache.',
    )
    .action(async (id: string, { include, json }: Options) => {
      const signal = interruptSignal();
      const line = progressLine();
      const bar = new PullBar();
      let shown = 0;
      try {
        const pulled = await pullModel(id, {
          signal,
          ...(include !== undefined && { include }),
          onProgress: (progress) => {
            const now = performance.now();
            if (now - shown < 100 && progress.done < progress.total) return;
            shown = now;
            line.show(bar.text(progress, now));
          },
        });
        if (shown > 0) line.end();
        if (json) printJson(pulled);
        else process.stdout.write(`${pulled.folder}\n`);
      } catch (problem) {
        if (shown > 0) line.end();
        if (!MinkeError.isInstance(problem) || problem.code !== 'aborted') throw problem;
        const more = include === undefined ? '' : ` --include ${include.map(quoted).join(' ')}`;
        throw new MinkeError(
          'aborted',
          `stopped; what came is kept, and the same command goes on: minke pull ${id}${more}`,
        );
      }
    });
}

function hubId(text: string): string {
  if (isHubId(text)) return text;
  throw new InvalidArgumentError('expected owner/name or owner/name@revision.');
}

function quoted(pattern: string): string {
  return /^[\w./-]+$/.test(pattern) ? pattern : `'${pattern}'`;
}
