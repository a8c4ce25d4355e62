// What a model must show before it may replace the published one: at least 90 % greedy pass@1 on held-out problems of
// every family in the README's table, of two to six million parameters, in less than 12 MB.

export const families = ['chain_sum', 'products', 'number_sorting', 'letter_counting', 'number_comparison'];

const [accuracy, fewest, most, largest] = [0.9, 2e6, 6e6, 12e6];

const percent = (share) => `${(100 * share).toFixed(1)} %`;

/**
 * @param {Record<string, { n: number, passAt1: { value: number, low: number, high: number } }>} measured by family
 * @param {{ parameters: number, bytes: number }} model
 * @returns {string[]} what is wrong, with the numbers; nothing where the bar holds
 */
export function missed(measured, { parameters, bytes }) {
  const problems = families.flatMap((family) => {
    const found = measured[family];
    if (found === undefined) return [`${family}: expected at least ${percent(accuracy)}, got no measurement`];
    const { value, low, high } = found.passAt1;
    if (value >= accuracy) return [];
    return [
      `${family}: expected at least ${percent(accuracy)}, got ${percent(value)} (${percent(low)} to ${percent(high)}, n ${found.n})`,
    ];
  });
  if (!(parameters >= fewest && parameters <= most))
    problems.push(
      `parameters: expected ${fewest / 1e6} to ${most / 1e6} million, got ${(parameters / 1e6).toFixed(2)}`,
    );
  if (!(bytes < largest))
    problems.push(`size: expected less than ${largest / 1e6} MB, got ${(bytes / 1e6).toFixed(1)}`);
  return problems;
}

/** The rows of the README's table. */
export function readmeRows(measured) {
  const what = {
    chain_sum: 'addition and subtraction of numbers up to 3 digits',
    products: '2-digit times 2-digit',
    number_sorting: 'sorting five numbers below 1,000',
    letter_counting: 'counting a letter in strings of 6 to 12 letters',
    number_comparison: 'the larger or smaller of two numbers below 1,000',
  };
  const rows = families.map((family) => {
    const { n, passAt1 } = measured[family];
    const { value, low, high } = passAt1;
    return `| ${what[family]} | ${percent(value)} | ${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)} | ${n} |`;
  });
  return ['| family | pass@1 | 95 % interval | n |', '| --- | --- | --- | --- |', ...rows, ''].join('\n');
}
