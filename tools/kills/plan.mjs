// When to kill: seeded moments over all stages of a run that is there whole, in the order of the stages.
//
// Each stage gets one kill before any gets a second one; those beyond go to stages that write checkpoints. A kill comes
//   by progress   when a share of the stage's metrics is written, and a part of a step later
//   in writing    within milliseconds of the moment a checkpoint's temporary folder appears
//   at a rename   right before or right after a file or folder takes its final name (at-rename.mjs)

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Random } from '../../packages/core/dist/index.js';

/** The folder of a stage in a run, or undefined. */
export function stageFolder(run, name) {
  if (!existsSync(join(run, 'stages'))) return undefined;
  const found = readdirSync(join(run, 'stages')).find(
    (entry) => entry.startsWith(`${name}-`) && /^[0-9a-f]{12}$/.test(entry.slice(name.length + 1)),
  );
  return found && join(run, 'stages', found);
}

function filesIn(folder) {
  try {
    return readdirSync(folder, { recursive: true }).map((path) => path.replaceAll('\\', '/'));
  } catch (problem) {
    // The process that is about to be killed moves folders away while they are listed.
    if (problem.code === 'ENOENT') return [];
    throw problem;
  }
}

function sizeOf(path) {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** Bytes of all metrics that a stage has written so far. */
export function metricsBytes(run, name) {
  const folder = stageFolder(run, name);
  if (folder === undefined) return 0;
  const logs = filesIn(folder).filter((path) => path.endsWith('metrics.jsonl'));
  return logs.reduce((sum, path) => sum + sizeOf(join(folder, path)), 0);
}

/** A checkpoint of a stage that is being written, or undefined. */
export function unfinishedCheckpoint(run, name) {
  const folder = stageFolder(run, name);
  return folder && filesIn(folder).find((path) => /checkpoints\/step-\d+\.tmp$/.test(path));
}

/** The stages of a complete run in the order in which they ran, with what a plan needs to know. */
export function stagesOf(run) {
  const { stages } = JSON.parse(readFileSync(join(run, 'state.json'), 'utf8'));
  return stages.map(({ name }) => {
    const folder = stageFolder(run, name);
    const files = filesIn(folder);
    const { seconds } = JSON.parse(readFileSync(join(folder, 'done.json'), 'utf8'));
    const logs = files.filter((path) => path.endsWith('metrics.jsonl'));
    const lines = logs.map((path) => readFileSync(join(folder, path), 'utf8').split('\n').length - 1);
    const steps = lines.reduce((a, b) => a + b, 0);
    return {
      ...{ name, seconds, metricsBytes: metricsBytes(run, name) },
      stepMs: steps === 0 ? 0 : (1000 * seconds) / steps,
      checkpoints: files.some((path) => /checkpoints\/step-\d+$/.test(path)),
      renames: [
        ...(files.some((path) => /checkpoints\/step-\d+$/.test(path)) ? ['checkpoints/step-\\d+$'] : []),
        ...(files.some((path) => path.endsWith('model/model.safetensors'))
          ? ['model/model.safetensors$']
          : []),
        ...(files.some((path) => path.endsWith('rejection.json')) ? ['rejection.json$'] : []),
        'done.json$',
      ],
    };
  });
}

/** The kills of a run, in the order of its stages. */
export function planKills(stages, { kills, seed }) {
  const random = new Random(seed);
  const once = random.shuffle(stages.map((stage) => stage));
  const writing = once.filter(({ checkpoints }) => checkpoints);
  const more = writing.length > 0 ? writing : once;
  const chosen = Array.from({ length: kills }, (_, i) =>
    i < once.length ? once[i] : more[(i - once.length) % more.length],
  );
  const kinds = ['progress', 'writing', 'rename'];
  return chosen
    .map((stage, i) => {
      // The first kill of every other stage comes by progress, whatever the stage writes.
      const kind = i < once.length && i % 2 === 0 ? 'progress' : kinds[i % 3];
      return momentOf(stage, kind === 'writing' && !stage.checkpoints ? 'rename' : kind, random);
    })
    .sort((a, b) => stages.indexOf(a.stage) - stages.indexOf(b.stage) || a.share - b.share);
}

function momentOf(stage, kind, random) {
  const [share, pause] = [0.9 * random.uniform(), random.uniform()];
  if (kind === 'writing') return { stage, kind, share, pause, text: 'while a checkpoint is written' };
  if (kind === 'progress') {
    return {
      stage,
      kind,
      share,
      pause,
      text: `at ${(100 * share).toFixed(0)} % of its ${stage.metricsBytes > 0 ? 'metrics' : 'time'}`,
    };
  }
  const target = stage.renames[random.integer(0, stage.renames.length)];
  const when = random.uniform() < 0.5 ? 'before' : 'after';
  const nth = target.startsWith('checkpoints') ? random.integer(1, 3) : 1;
  const named = target.replaceAll(/[\\$]|d\+/g, '');
  return {
    ...{ stage, kind, share, pause, rename: { target, when, nth } },
    text: `right ${when} rename ${nth} of ${named}`,
  };
}

/** The stage that a killed run is in, and where it stands; undefined between two stages. */
export function interruptedStage(run) {
  const stages = existsSync(join(run, 'stages')) ? readdirSync(join(run, 'stages')) : [];
  const open = stages.find(
    (entry) =>
      existsSync(join(run, 'stages', entry, 'stage.json')) &&
      !existsSync(join(run, 'stages', entry, 'done.json')),
  );
  if (open === undefined) return undefined;
  const files = filesIn(join(run, 'stages', open));
  const steps = files.flatMap((path) => /checkpoints\/step-(\d+)$/.exec(path)?.[1] ?? []).map(Number);
  const name = open.slice(0, -13);
  const half = files.filter((path) => path.endsWith('.tmp')).map((path) => path.split('/').at(-1));
  const at = steps.length === 0 ? 'no checkpoint' : `checkpoint ${Math.max(...steps)}`;
  return { name, text: `hit ${name}: ${at}${half.length > 0 ? `, half written ${half.join(', ')}` : ''}` };
}
