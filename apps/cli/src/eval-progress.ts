/**
 * How far an evaluation is: one line that is overwritten in a terminal, one line in ten seconds elsewhere.
 */

/** A function that shows a line on stderr, and one that ends it. */
export function progressLine(): { show(line: string): void; end(): void } {
  let shown = 0;
  return {
    show(line) {
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${line}`);
      else if (performance.now() - shown > 10_000) {
        process.stderr.write(`${line}\n`);
        shown = performance.now();
      }
    },
    end() {
      if (process.stderr.isTTY) process.stderr.write('\n');
    },
  };
}
