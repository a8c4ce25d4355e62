/**
 * A run in the terminal: one line a stage, on stderr. The running stage's line is redrawn in place, with its curve and
 * the estimated time to its end; where there is no terminal, plain lines come at the start and the end of a stage
 * and every half minute between.
 */
import { join } from 'node:path';
import { chartsOf } from '../logs/charts.ts';
import { StageLogs } from '../logs/stage-logs.ts';
import { duration, shortNumber } from '../report/words.ts';
import type { RunState, StageView } from '../run/run-state.ts';
import type { RunEvent } from '../run/runner.ts';
import { sparkline } from './sparkline.ts';

/** Where lines go: stderr, or what a test reads. */
export interface ProgressOutput {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

const redrawMs = 100;
const curveMs = 500;
const plainMs = 30_000;
const sparkWidth = 16;

export class TerminalProgress {
  readonly #run: string;
  readonly #output: ProgressOutput;
  #logs: StageLogs | undefined;
  #curve = '';
  #drawn = 0;
  #read = 0;
  #nameWidth = 0;
  /** A line without an end stands on the terminal. */
  #open = false;

  constructor(run: string, output: ProgressOutput) {
    this.#run = run;
    this.#output = output;
  }

  /** @param state of the run after the event */
  take(event: RunEvent, state: RunState): void {
    if (event.type === 'plan') {
      this.#nameWidth = Math.max(...state.stages.map(({ title }) => title.length));
      return;
    }
    const stage = state.stages.find(({ name }) => name === event.stage) as StageView;
    if (event.type === 'start') this.#start(stage);
    if (event.type === 'progress') this.#progress(stage);
    if (event.type === 'log') this.#line(`  ${this.#name(stage)}  ${event.text}`);
    if (event.type === 'end') this.#end(stage);
  }

  /** Leaves the terminal in order. */
  close(): void {
    if (this.#open) this.#output.write('\n');
    this.#open = false;
  }

  #start(stage: StageView): void {
    this.#logs = new StageLogs(join(this.#run, stage.folder as string), 0);
    this.#curve = '';
    this.#read = 0;
    this.#drawn = performance.now();
    const text = `▸ ${this.#name(stage)}  ${stage.why}`;
    if (this.#output.isTTY) this.#draw(text);
    else this.#line(text);
  }

  #progress(stage: StageView): void {
    const now = performance.now();
    if (now - this.#drawn < (this.#output.isTTY ? redrawMs : plainMs)) return;
    this.#drawn = now;
    const { done, total, text, left } = stage.progress as NonNullable<StageView['progress']>;
    const time = `${duration(stage.seconds)}${left === null ? '' : ` < ${duration(left)}`}`;
    const figure = this.#figure(now);
    const parts = [`▸ ${this.#name(stage)}`, `${done}/${total}`, time, figure, text];
    const line = parts.filter(Boolean).join('  ');
    if (this.#output.isTTY) this.#draw(line);
    else this.#line(line);
  }

  #end(stage: StageView): void {
    const marks: Partial<Record<StageView['state'], string>> = { done: '✓', reused: '=', stopped: '‖' };
    const what = stage.state === 'reused' ? 'was there' : stage.state === 'done' ? '' : stage.state;
    const curve = stage.state === 'reused' ? '' : this.#figure(Infinity);
    const parts = [`${marks[stage.state] ?? '✗'} ${this.#name(stage)}`, duration(stage.seconds), curve, what];
    this.#line(parts.filter(Boolean).join('  '));
    this.#logs = undefined;
  }

  /** The name, value and course of the stage's first chart. */
  #figure(now: number): string {
    if (this.#logs === undefined || now - this.#read < curveMs) return this.#curve;
    this.#read = now;
    this.#logs.poll();
    const lines = this.#logs.logs().at(-1)?.metrics ?? [];
    const curve = chartsOf(lines)[0]?.curves[0];
    if (curve !== undefined) {
      const last = shortNumber(curve.y.at(-1) as number);
      this.#curve = `${curve.label} ${last} ${sparkline(curve.y, sparkWidth)}`;
    }
    return this.#curve;
  }

  #name(stage: StageView): string {
    return stage.title.padEnd(this.#nameWidth);
  }

  #draw(text: string): void {
    const room = (this.#output.columns ?? 80) - 1;
    const shown = [...text];
    const fitted = shown.length > room ? `${shown.slice(0, room - 1).join('')}…` : text;
    this.#output.write(`\r\x1b[2K${printable(fitted)}`);
    this.#open = true;
  }

  #line(text: string): void {
    this.#output.write(`${this.#open ? '\r\x1b[2K' : ''}${printable(text)}\n`);
    this.#open = false;
  }
}

/** Without control characters: text of a stage may come from a model. */
function printable(text: string): string {
  return [...text].map((character) => (isControl(character) ? '�' : character)).join('');
}

function isControl(character: string): boolean {
  const code = character.codePointAt(0) as number;
  return code < 32 || (code >= 127 && code < 160);
}
