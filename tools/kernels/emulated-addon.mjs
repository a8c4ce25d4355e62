// An add-on for MINKE_NATIVE whose kernels run as another process, say under an emulator (see kernel-process.mjs): what
// Node loads in place of minke.node where the processor could not run that. One process for each thread that loads it.
// MINKE_KERNEL_PROCESS is the command as JSON: ["qemu-aarch64", "-cpu", "max", "kernel-process"].

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startProcess } from './kernel-process.mjs';

const folder = mkdtempSync(join(tmpdir(), 'minke-kernels-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

export const { instructionSets, create, destroy, allocate, release, write, read, run } = startProcess(
  JSON.parse(process.env.MINKE_KERNEL_PROCESS),
  {},
  folder,
).addon;
