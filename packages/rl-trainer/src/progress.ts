/**
 * A progress line on stderr: redrawn in place on a terminal, one line every half minute elsewhere, so that
 * a log file stays readable.
 */
export class ProgressLine {
  readonly #total: number;
  readonly #started = performance.now();
  readonly #first: number;
  #last = 0;

  /** @param total steps of the whole run; @param first step this process starts from */
  constructor(total: number, first: number) {
    this.#total = total;
    this.#first = first;
  }

  /** @param step steps done; @param text figures to show after the bar */
  update(step: number, text: string): void {
    const now = performance.now();
    const terminal = process.stderr.isTTY === true;
    if (now - this.#last < (terminal ? 100 : 30_000) && step < this.#total) return;
    this.#last = now;
    const seconds = (now - this.#started) / 1000;
    const left = step > this.#first ? (seconds / (step - this.#first)) * (this.#total - step) : 0;
    const filled = Math.round((24 * step) / this.#total);
    const bar = `${'█'.repeat(filled)}${'░'.repeat(24 - filled)}`;
    const line = `${bar} ${step}/${this.#total}  ${text}  ${formatDuration(seconds)} < ${formatDuration(left)}`;
    process.stderr.write(terminal ? `\r\x1b[2K${line}` : `${line}\n`);
    if (terminal && step === this.#total) process.stderr.write('\n');
  }
}

/** `1:02:03` or `2:03`. */
function formatDuration(seconds: number): string {
  const whole = Math.round(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const shown = parts[0] === 0 ? parts.slice(1) : parts;
  return shown.map((part, i) => (i === 0 ? String(part) : String(part).padStart(2, '0'))).join(':');
}
