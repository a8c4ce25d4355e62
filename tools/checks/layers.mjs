// The layering check: every workspace package has a row (layers.json), and may use only packages of rows above
// its own, that is, of a smaller number. Packages of one row do not know each other. It follows that there are
// no cycles between packages.
//
// Checked are the manifests (dependencies of every kind, and that internal ranges read `workspace:^`) and each
// import, re-export, dynamic import, require and import type with a literal name:
//   - a package is imported by a declared name; only what is not shipped (tests, src/testing, benchmarks, examples,
//     recipes, build settings) may use devDependencies and the root's;
//   - a workspace package is imported through its `exports` only, never by a path into it;
//   - relative imports stay inside the package; shipped code imports shipped code only, and not its own package
//     by name.
// Names computed at run time cannot be checked.
//
// `node tools/checks/layers.mjs` prints the problems and exits with 1 if there are any.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const sourceFile = /\.[cm]?[jt]sx?$/;
const ignoredFolders = new Set(['node_modules', 'dist', 'build', 'coverage', 'fixtures', '.turbo']);
const unshippedFile = /\.(test|bench)\.[cm]?[jt]sx?$/;

/**
 * Checks a workspace.
 *
 * @param {string} root folder that holds package.json, packages/ and apps/
 * @param {Record<string, number>} rows row of every package, by name
 * @returns {string[]} problems, each `file: expected ..., got ...; what to do`
 */
export function checkLayers(root, rows) {
  const packages = readPackages(root);
  const rootDevDependencies = Object.keys(readManifest(root).devDependencies ?? {});
  const context = {
    root,
    rows,
    packages,
    byName: new Map(packages.map((p) => [p.manifest.name, p])),
    rootDevDependencies,
  };
  return packages.flatMap((entry) => [...checkManifest(entry, context), ...checkImports(entry, context)]);
}

function checkManifest({ directory, manifest }, { root, rows, byName }) {
  const file = show(root, join(directory, 'package.json'));
  if (!(manifest.name in rows)) {
    return [`${file}: expected a row for ${manifest.name} in tools/checks/layers.json, got none; add one`];
  }
  const kinds = ['dependencies', 'peerDependencies', 'optionalDependencies', 'devDependencies'];
  return kinds.flatMap((kind) =>
    Object.entries(manifest[kind] ?? {}).flatMap(([name, range]) => {
      if (!byName.has(name)) return [];
      const problems = rowProblems(manifest.name, name, rows).map(
        (problem) => `${file}: ${kind}: ${problem}`,
      );
      if (range !== 'workspace:^') {
        problems.push(
          `${file}: ${kind}: expected "${name}": "workspace:^", got "${range}"; workspace packages follow each other`,
        );
      }
      return problems;
    }),
  );
}

function checkImports(entry, context) {
  return filesUnder(entry.directory).flatMap((path) => {
    const shipped = isShipped(relative(entry.directory, path), entry.manifest);
    return importsOf(path).flatMap(({ specifier, line }) =>
      importProblems(specifier, path, shipped, entry, context).map(
        (problem) => `${show(context.root, path)}:${line}: ${problem}`,
      ),
    );
  });
}

function importProblems(
  specifier,
  path,
  shipped,
  { directory, manifest },
  { rows, byName, rootDevDependencies },
) {
  if (isBuiltin(specifier)) return [];
  if (/^\.{0,2}\//.test(specifier) || specifier === '.' || specifier === '..') {
    const target = resolve(dirname(path), specifier);
    if (target.startsWith(directory + sep)) {
      if (!shipped || isShipped(relative(directory, target), manifest) || target.endsWith('package.json'))
        return [];
      return [
        `expected a path to shipped code, got '${specifier}'; what is shipped does not use what is not`,
      ];
    }
    return [
      `expected a path inside ${manifest.name}, got '${specifier}'; import the other package by its name`,
    ];
  }
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
  if (name === manifest.name) {
    if (shipped)
      return [`expected a relative path, got '${specifier}'; a package does not import itself by name`];
    return exportProblems(specifier, name, manifest);
  }
  const shippable = {
    ...manifest.dependencies,
    ...manifest.peerDependencies,
    ...manifest.optionalDependencies,
  };
  const declared =
    name in shippable ||
    (!shipped && (name in (manifest.devDependencies ?? {}) || rootDevDependencies.includes(name)));
  const problems = [];
  if (!declared) {
    const where = shipped ? 'dependencies or peerDependencies' : 'dependencies or devDependencies';
    problems.push(`expected '${name}' in the ${where} of ${manifest.name}, got no such entry; declare it`);
  }
  if (byName.has(name)) {
    problems.push(
      ...rowProblems(manifest.name, name, rows),
      ...exportProblems(specifier, name, byName.get(name).manifest),
    );
  }
  return problems;
}

function rowProblems(from, to, rows) {
  if (!(from in rows) || !(to in rows) || rows[to] < rows[from]) return [];
  return [
    `expected ${from} (row ${rows[from]}) to use rows 0 to ${rows[from] - 1} only, got ${to} (row ${rows[to]}); ` +
      'move the shared part to a row above both',
  ];
}

function exportProblems(specifier, name, manifest) {
  const subpath = `.${specifier.slice(name.length)}`;
  const declared = Object.keys(manifest.exports ?? {});
  const matches = (key) => {
    const [before, after] = key.split('*');
    return after === undefined ? key === subpath : subpath.startsWith(before) && subpath.endsWith(after);
  };
  if (declared.some(matches)) return [];
  return [
    `expected one of ${name}'s exports (${declared.join(', ')}), got '${specifier}'; no imports past the exports`,
  ];
}

/** Every literal module name a file imports, with its line. */
function importsOf(path) {
  const source = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true);
  const found = [];
  const add = (node) => {
    if (node === undefined || !ts.isStringLiteralLike(node)) return;
    found.push({
      specifier: node.text,
      line: source.getLineAndCharacterOfPosition(node.getStart()).line + 1,
    });
  };
  const visit = (node) => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) add(node.moduleSpecifier);
    else if (ts.isExternalModuleReference(node)) add(node.expression);
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal);
    else if (ts.isCallExpression(node) && loadsModule(node.expression)) add(node.arguments[0]);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** `import(...)`, `require(...)`, `require.resolve(...)`, `import.meta.resolve(...)`. */
function loadsModule(callee) {
  if (callee.kind === ts.SyntaxKind.ImportKeyword) return true;
  return ['require', 'require.resolve', 'import.meta.resolve'].includes(callee.getText());
}

/** Shipped is what `src` is built into and what `files` names, except tests, their helpers and benchmarks. */
function isShipped(path, { files = [] }) {
  const [folder, ...rest] = path.split(sep);
  if (folder === 'src' && rest[0] === 'testing') return false;
  return (folder === 'src' || files.includes(folder)) && !unshippedFile.test(path);
}

function readPackages(root) {
  return ['packages', 'apps']
    .map((group) => join(root, group))
    .filter((group) => existsSync(group))
    .flatMap((group) => readdirSync(group).map((name) => join(group, name)))
    .filter((directory) => existsSync(join(directory, 'package.json')))
    .map((directory) => ({ directory, manifest: readManifest(directory) }));
}

function readManifest(directory) {
  return JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
}

function filesUnder(directory) {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return ignoredFolders.has(entry.name) ? [] : filesUnder(path);
    return sourceFile.test(entry.name) ? [path] : [];
  });
}

function show(root, path) {
  return relative(root, path).split(sep).join('/');
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
  const rows = JSON.parse(readFileSync(join(root, 'tools/checks/layers.json'), 'utf8'));
  const problems = checkLayers(root, rows);
  for (const problem of problems) console.error(problem);
  console.log(
    problems.length === 0
      ? `layers: ${Object.keys(rows).length} packages in order`
      : `layers: ${problems.length} problems`,
  );
  process.exitCode = problems.length === 0 ? 0 : 1;
}
