// What every benchmark takes from the command line: `--quick` for few rounds, and `--only PATTERN`, a regular
// expression over case names, to measure a part of the table.

const words = process.argv.slice(2);
const at = words.indexOf('--only');

export const quick = words.includes('--quick');
const pattern = at >= 0 ? new RegExp(words[at + 1] ?? '') : null;

/** Whether the case of this name is to be measured. */
export function wanted(name) {
  return pattern === null || pattern.test(name);
}
