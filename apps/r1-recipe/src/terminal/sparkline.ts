/** A curve in a few characters. */

const bars = '▁▂▃▄▅▆▇█';

/** The course of the values, at most `width` characters, each the mean of neighbours. */
export function sparkline(values: readonly number[], width: number): string {
  const finite = values.filter(Number.isFinite);
  const count = Math.min(width, finite.length);
  const means = Array.from({ length: count }, (_, i) => {
    const part = finite.slice(
      Math.floor((i * finite.length) / count),
      Math.floor(((i + 1) * finite.length) / count),
    );
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
  const [least, largest] = [Math.min(...means), Math.max(...means)];
  const level = (value: number) =>
    largest > least ? Math.round(((value - least) / (largest - least)) * (bars.length - 1)) : 3;
  return means.map((value) => bars[level(value)]).join('');
}
