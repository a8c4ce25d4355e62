// What a stranger gets from npm: builds and packs packages, installs the tarballs with npm in empty projects by
// the command that the package's README shows, and there type-checks and runs the README's example.
//
//   node tools/checks/pack.mjs [package ...]      default: every package that has a README example
//
// Every @minke package resolves to the tarball just packed (npm's `overrides`), everything else to the registry.
// Also checked: publint on each tarball, and that @minke/tokenizer-merging alone brings neither the tensor
// package nor a native binary. The last line is `N passed, M failed`.

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { npm, pnpm, repositoryRoot, run, SetupError } from '../scripts/process.mjs';
import { ensureBuilt, ensureInstalled, setUpOrExit } from '../scripts/setup.mjs';
import { workspacePackages } from '../scripts/stamps.mjs';
import { countLine } from '../scripts/steps.mjs';
import { firstCodeBlock } from './readme-examples.mjs';

await setUpOrExit(ensureInstalled);
const { publint } = await import('publint');
const { formatMessage } = await import('publint/utils');
const { default: ts } = await import('typescript');

const exampleTimeoutMs = 120_000;
const packages = new Map(workspacePackages().map((entry) => [entry.manifest.name, entry]));
const work = mkdtempSync(join(tmpdir(), 'minke-pack-'));
const counts = { passed: 0, failed: 0, skipped: 0 };

try {
  await main(process.argv.slice(2));
} finally {
  rmSync(work, { recursive: true, force: true });
}
console.log(countLine(counts));
process.exitCode = counts.failed > 0 ? 1 : 0;

async function main(names) {
  const unknown = names.filter((name) => !packages.has(name));
  if (unknown.length > 0)
    throw new Error(`pack: expected names of workspace packages, got ${unknown.join(', ')}`);
  const targets =
    names.length > 0 ? names : [...packages.keys()].filter((name) => existsSync(exampleOf(name)));
  const needed = closure(targets.flatMap((name) => [name, ...installedByReadme(name)]));

  let tarballs;
  const packed = await step(`build and pack ${needed.length} packages`, async () => {
    tarballs = await packAll(needed);
  });
  if (!packed) return;
  for (const name of needed) await step(`publint ${name}`, () => lintPackage(name, tarballs.get(name)));
  for (const name of targets) await step(`README example of ${name}`, () => runExample(name, tarballs));
  const alone = '@minke/tokenizer-merging';
  if (targets.includes(alone)) await step(`${alone} alone`, () => checkTokenizerAlone(alone, tarballs));
}

async function step(title, work) {
  const start = performance.now();
  let problem;
  try {
    await work();
  } catch (error) {
    problem = error instanceof SetupError ? `${error.message}\n${error.log}` : error.stack;
  }
  counts[problem === undefined ? 'passed' : 'failed']++;
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(
    `${problem === undefined ? 'ok    ' : 'FAILED'} ${title} (${seconds} s)${problem ? `\n${problem}` : ''}`,
  );
  return problem === undefined;
}

/** Builds the packages, with type declarations, and packs each; returns the tarball of each name. */
async function packAll(names) {
  await ensureBuilt({ whole: true });
  const tarballs = new Map();
  for (const name of names) {
    const folder = join(work, 'tarballs', name.replace('/', '-'));
    mkdirSync(folder, { recursive: true });
    await pnpm(['--dir', packages.get(name).directory, 'pack', '--pack-destination', folder]);
    tarballs.set(name, join(folder, readdirSync(folder)[0]));
  }
  return tarballs;
}

async function lintPackage(name, tarball) {
  const { messages, pkg } = await publint({
    pack: { tarball: new Uint8Array(readFileSync(tarball)).buffer },
    strict: true,
  });
  const problems = messages
    .filter(({ type }) => type !== 'suggestion')
    .map((message) => formatMessage(message, pkg));
  for (const kind of ['dependencies', 'peerDependencies', 'optionalDependencies']) {
    for (const [dependency, range] of Object.entries(pkg[kind] ?? {})) {
      if (range.startsWith('workspace:'))
        problems.push(`${kind}: ${dependency} still has the range ${range}`);
    }
  }
  if (problems.length > 0) throw new Error(`publint: ${name}:\n${problems.join('\n')}`);
}

async function runExample(name, tarballs) {
  const project = await installProject(installedByReadme(name), tarballs);
  const source = readFileSync(exampleOf(name), 'utf8');
  writeFileSync(join(project, 'example.ts'), source);
  checkTypes(join(project, 'example.ts'));
  const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
  writeFileSync(join(project, 'example.mjs'), ts.transpileModule(source, { compilerOptions }).outputText);
  await run(process.execPath, ['example.mjs'], { cwd: project, timeoutMs: exampleTimeoutMs });
}

/** A user's strict settings: the packed declarations must resolve and fit, as Node's own resolution finds them. */
function checkTypes(file) {
  const program = ts.createProgram([file], {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
    typeRoots: [join(repositoryRoot, 'node_modules/@types')],
    types: ['node'],
  });
  const diagnostics = ts.getPreEmitDiagnostics(program);
  if (diagnostics.length === 0) return;
  throw new Error(`types: ${ts.formatDiagnostics(diagnostics, ts.createCompilerHost({}))}`);
}

async function checkTokenizerAlone(name, tarballs) {
  const project = await installProject([name], tarballs);
  const files = readdirSync(join(project, 'node_modules'), { recursive: true }).map(String);
  const unwanted = files.filter((file) => file.endsWith('.node') || /^@minke.tensor$/.test(file));
  if (unwanted.length > 0)
    throw new Error(`expected neither @minke/tensor nor native binaries, got ${unwanted.join(', ')}`);
  writeFileSync(join(project, 'alone.mjs'), `await import('${name}/tokenizer');\n`);
  await run(process.execPath, ['alone.mjs'], { cwd: project, timeoutMs: exampleTimeoutMs });
}

/** An empty project with these packages installed by npm; workspace packages come from their tarballs. */
async function installProject(specifiers, tarballs) {
  const project = mkdtempSync(join(work, 'project-'));
  const dependencies = {};
  const overrides = {};
  for (const [name, file] of tarballs) {
    const direct = specifiers.includes(name);
    if (direct) dependencies[name] = pathToFileURL(file).href;
    overrides[name] = direct ? `$${name}` : pathToFileURL(file).href;
  }
  writeFileSync(
    join(project, 'package.json'),
    JSON.stringify({ private: true, type: 'module', dependencies, overrides }),
  );
  const others = specifiers.filter((specifier) => !tarballs.has(specifier));
  await npm(['install', '--no-audit', '--no-fund', '--prefer-offline', ...others], { cwd: project });
  return project;
}

/** What the first `npm install` line of the README asks for. */
function installedByReadme(name) {
  const readme = join(packages.get(name).directory, 'README.md');
  const commands = existsSync(readme)
    ? (firstCodeBlock(readFileSync(readme, 'utf8'), ['sh', 'bash', 'shell']) ?? '')
    : '';
  const line = /^npm (?:i|install|add) +(.+)$/m.exec(commands);
  if (!line) return [name];
  return line[1].split(/\s+/).filter((word) => /^@?[a-z]/.test(word));
}

/** The packages and every workspace package they depend on, directly or not; optional peers are left out. */
function closure(names) {
  const found = new Set();
  const visit = (name) => {
    if (!packages.has(name) || found.has(name)) return;
    found.add(name);
    const {
      dependencies = {},
      peerDependencies = {},
      peerDependenciesMeta = {},
    } = packages.get(name).manifest;
    Object.keys(dependencies).forEach(visit);
    for (const peer of Object.keys(peerDependencies)) if (!peerDependenciesMeta[peer]?.optional) visit(peer);
  };
  names.forEach(visit);
  return [...found].sort();
}

function exampleOf(name) {
  return join(packages.get(name).directory, 'examples/readme.ts');
}
