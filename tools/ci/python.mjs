// Python with PyTorch, transformers and PEFT, for the tests that load what we export there. In an environment of its own
// (tools/parity/.venv), which is used by putting its programs first on the PATH. Versions: tools/parity/requirements.txt.

import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { repositoryRoot, run, SetupError } from '../scripts/process.mjs';

const parity = join(repositoryRoot, 'tools/parity');
const environment = join(parity, '.venv');
const needed = ['torch', 'transformers', 'safetensors', 'numpy', 'peft'];

/**
 * Makes `python3` on the PATH of this process and its children one that has what the tests import.
 *
 * @throws {SetupError} when there is no Python, or a package cannot be installed
 */
export async function ensurePython() {
  if (await imports('python3')) return;
  const programs = join(environment, 'bin');
  const python = join(programs, 'python3');
  if (!existsSync(python)) {
    console.log('making a Python environment with PyTorch and transformers');
    await run('python3', ['-m', 'venv', environment]);
  }
  if (!(await imports(python))) {
    const lines = readFileSync(join(parity, 'requirements.txt'), 'utf8').split('\n');
    const wanted = lines.filter((line) => needed.includes(line.split('==')[0]));
    // One after another: transformers asks for no version of torch, which must not be replaced by another.
    for (const requirement of wanted) await run(python, ['-m', 'pip', 'install', '--quiet', requirement]);
    if (!(await imports(python)))
      throw new SetupError(`expected ${needed.join(', ')} in ${environment}, and pip did not bring them`);
  }
  process.env.PATH = `${programs}${delimiter}${process.env.PATH}`;
}

async function imports(python) {
  const missing = `exit(any(not find_spec(name) for name in ${JSON.stringify(needed)}))`;
  try {
    await run(python, ['-c', `from importlib.util import find_spec\n${missing}`]);
    return true;
  } catch {
    return false;
  }
}
