// Every package that has code has a README whose first TypeScript block is the file examples/readme.ts, word
// for word. That the example runs, installed from the packed package, is checked by pack.mjs.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

/** Text of the first code block in one of the languages, or undefined. */
export function firstCodeBlock(markdown, languages) {
  const block = new RegExp(`^\`\`\`(?:${languages.join('|')})\\n([\\s\\S]*?)^\`\`\``, 'm').exec(markdown);
  return block?.[1];
}

/** Problems of one package folder. */
export function readmeProblems(directory) {
  if (!existsSync(join(directory, 'src/index.ts'))) return [];
  const where = relative(root, directory);
  const readme = join(directory, 'README.md');
  const example = join(directory, 'examples/readme.ts');
  const missing = [readme, example].filter((file) => !existsSync(file));
  if (missing.length > 0)
    return missing.map((file) => `${relative(root, file)}: expected this file, got none; write it`);
  const shown = firstCodeBlock(readFileSync(readme, 'utf8').replaceAll('\r\n', '\n'), ['ts', 'typescript']);
  const code = readFileSync(example, 'utf8').replaceAll('\r\n', '\n');
  if (shown === undefined)
    return [`${where}/README.md: expected a \`\`\`ts block, got none; show examples/readme.ts`];
  if (shown.trim() === code.trim()) return [];
  return [
    `${where}/README.md: expected its first ts block to be examples/readme.ts, got other text; copy the file`,
  ];
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const packages = readdirSync(join(root, 'packages')).map((name) => join(root, 'packages', name));
  const problems = packages.flatMap(readmeProblems);
  for (const problem of problems) console.error(problem);
  console.log(
    problems.length === 0
      ? `README examples: as in examples/readme.ts`
      : `README examples: ${problems.length} problems`,
  );
  process.exitCode = problems.length === 0 ? 0 : 1;
}
