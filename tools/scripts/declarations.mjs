// The type declarations of every package, `src/a/b.ts` to `dist/a/b.d.ts`, by one TypeScript program for all of them: a
// program for each package takes ten times as long. Errors of types are `pnpm typecheck`'s; here only what cannot be declared
// is one. Run after turbo's build, which empties `dist`.
//
//   node tools/scripts/declarations.mjs

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import ts from 'typescript';
import { repositoryRoot } from './process.mjs';
import { workspacePackages } from './stamps.mjs';

const sourceFile = /^(.*[\\/](?:packages|apps)[\\/][\w-]+[\\/])src([\\/].+)$/;

const { config, error } = ts.readConfigFile(join(repositoryRoot, 'tsconfig.base.json'), ts.sys.readFile);
if (error) fail([error]);
const { options, errors } = ts.convertCompilerOptionsFromJson(config.compilerOptions, repositoryRoot);
if (errors.length > 0) fail(errors);

const program = ts.createProgram(entries(), {
  ...options,
  ...{ noEmit: false, declaration: true, emitDeclarationOnly: true, noCheck: true },
});
const { diagnostics } = program.emit(undefined, write, undefined, true, {
  afterDeclarations: [importsByJs],
});
if (diagnostics.length > 0) fail(diagnostics);

/** The sources of everything that a package lets others import with types. */
function entries() {
  return workspacePackages().flatMap(({ directory, manifest: { exports = {} } }) =>
    Object.values(exports)
      .filter((one) => one.types !== undefined)
      .map((one) => join(directory, one['minke-source'])),
  );
}

function write(path, text) {
  const [, root, rest] = sourceFile.exec(path) ?? [];
  if (root === undefined)
    throw new Error(
      `declarations: expected sources in packages and apps, got ${relative(repositoryRoot, path)}`,
    );
  const file = `${root}dist${rest}`;
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}

/** `./cache.ts` becomes `./cache.js`, which every way of resolving modules takes for `cache.d.ts`. */
function importsByJs(context) {
  const inside = (parent, grandparent) => (node) =>
    ts.isStringLiteral(node) && namesModule(parent, grandparent) && /^\.{1,2}\/.*\.ts$/.test(node.text)
      ? context.factory.createStringLiteral(node.text.replace(/\.ts$/, '.js'), true)
      : ts.visitEachChild(node, inside(node, parent), context);
  return inside();
}

/** Whether a text in these names a module: `import`, `export … from`, and the type `import('…')`. */
function namesModule(parent, grandparent) {
  if (ts.isImportDeclaration(parent) || ts.isExportDeclaration(parent)) return true;
  return ts.isLiteralTypeNode(parent) && ts.isImportTypeNode(grandparent);
}

function fail(diagnostics) {
  console.error(ts.formatDiagnostics(diagnostics, ts.createCompilerHost({})));
  process.exit(1);
}
