// Child processes of the set-up: output collected instead of shown, interrupts passed on, and a home folder
// that package managers can write to.

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const repositoryRoot = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
export const nodeModulesDir = join(repositoryRoot, 'node_modules');

/** A set-up step failed; `log` is everything the step printed. */
export class SetupError extends Error {
  constructor(message, log = '') {
    super(message);
    this.log = log;
  }
}

/**
 * The environment for installers and builds: no telemetry, dev dependencies included, and, where the real
 * home folder cannot be written, a home inside node_modules.
 */
export function childEnvironment() {
  const env = {
    ...process.env,
    TURBO_TELEMETRY_DISABLED: '1',
    TURBO_NO_UPDATE_NOTIFIER: '1',
    DO_NOT_TRACK: '1',
  };
  delete env.NODE_ENV; // with NODE_ENV=production the installer would leave out the compiler and the test runner
  if (!isWritable(homedir())) {
    const home = join(nodeModulesDir, '.minke-home');
    mkdirSync(home, { recursive: true });
    for (const name of Object.keys(env)) if (/^XDG_.*_HOME$/.test(name)) delete env[name];
    Object.assign(env, { HOME: home, USERPROFILE: home, npm_config_cache: join(home, '.npm') });
  }
  return env;
}

/** Runs the pinned pnpm, which npx downloads once and keeps in npm's cache. */
export function pnpm(args) {
  const { packageManager } = JSON.parse(readFileSync(join(repositoryRoot, 'package.json'), 'utf8'));
  const [pinned] = packageManager.split('+'); // without the optional integrity hash
  return npx(['--yes', pinned, ...args]);
}

/** Runs npx from the npm that came with this Node, or else the one on the PATH. */
export function npx(args, options) {
  return npmTool('npx', args, options);
}

/** Runs npm from the npm that came with this Node, or else the one on the PATH. */
export function npm(args, options) {
  return npmTool('npm', args, options);
}

function npmTool(tool, args, options) {
  const binDir = dirname(realpathSync(process.execPath));
  const bundled = [join(binDir, '../lib/node_modules/npm/bin'), join(binDir, 'node_modules/npm/bin')]
    .map((directory) => join(directory, `${tool}-cli.js`))
    .find((file) => existsSync(file));
  if (bundled) return run(process.execPath, [bundled, ...args], options);
  return run(tool, args, { ...options, shell: process.platform === 'win32' });
}

/**
 * Runs a command to its end. Standard output and error are collected; with `show` they are also passed on.
 *
 * @returns {Promise<string>} what the command wrote to standard output
 * @throws {SetupError} with everything it wrote, when the command fails, takes longer than `timeoutMs` or cannot
 *   be started; `stdout` holds its standard output
 */
export function run(command, args, { cwd = repositoryRoot, env = childEnvironment(), ...options } = {}) {
  const { shell = false, show = false, timeoutMs } = options;
  return new Promise((done, failed) => {
    const child = startChild(command, args, { cwd, env, shell, stdio: ['ignore', 'pipe', 'pipe'] });
    const outputs = [];
    const all = [];
    const collect = (stream, chunk) => {
      all.push(chunk);
      if (stream === 'stdout') outputs.push(chunk);
      if (show) process[stream].write(chunk);
    };
    child.stdout.on('data', (chunk) => collect('stdout', chunk));
    child.stderr.on('data', (chunk) => collect('stderr', chunk));
    let timedOut = false;
    const expire = () => {
      timedOut = true;
      endChild(child, 'SIGKILL');
    };
    const timer = timeoutMs && setTimeout(expire, timeoutMs);
    child.on('error', (error) => failed(new SetupError(`could not start ${command}: ${error.message}`)));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const stdout = Buffer.concat(outputs).toString('utf8');
      if (code === 0) return done(stdout);
      const end = timedOut
        ? `was ended after ${timeoutMs / 1000} s`
        : `ended with ${signal ?? `exit code ${code}`}`;
      const error = new SetupError(`${command} ${args[0] ?? ''} ${end}`, Buffer.concat(all).toString('utf8'));
      failed(Object.assign(error, { stdout }));
    });
  });
}

const children = new Set();
const interruptCodes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 };

/** Starts a child in a process group of its own, which is ended when this process ends or is interrupted. */
function startChild(command, args, options) {
  const child = spawn(command, args, { ...options, detached: process.platform !== 'win32' });
  if (children.size === 0) {
    for (const signal of Object.keys(interruptCodes)) process.on(signal, interrupted);
    process.on('exit', endChildren);
  }
  children.add(child);
  const forget = () => {
    children.delete(child);
    if (children.size > 0) return;
    for (const signal of Object.keys(interruptCodes)) process.off(signal, interrupted);
    process.off('exit', endChildren);
  };
  child.on('error', forget).on('close', forget);
  return child;
}

function interrupted(signal) {
  process.exit(interruptCodes[signal]); // listeners of 'exit' end the children and release the lock
}

function endChildren() {
  for (const child of children) endChild(child, 'SIGTERM');
}

/** Ends a child and all that it started. */
function endChild({ pid }, signal) {
  if (pid === undefined) return;
  try {
    process.kill(process.platform === 'win32' ? pid : -pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error; // gone already
  }
}

/** The first file of this name on the PATH, or undefined. */
export function findOnPath(name) {
  const suffixes = process.platform === 'win32' ? ['.exe', '.cmd', ''] : [''];
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
    if (!directory) continue;
    for (const suffix of suffixes) {
      const file = join(directory, name + suffix);
      if (existsSync(file)) return file;
    }
  }
  return undefined;
}

/** By trying: permission bits say nothing about read-only mounts, or to root. */
function isWritable(directory) {
  try {
    rmdirSync(mkdtempSync(join(directory, '.minke-')));
    return true;
  } catch {
    return false;
  }
}
