// The kernels as a program of their own (kernel-process.cc), asked and answered synchronously over two named pipes:
// sanitizers in Node would see Node's own memory too, and an emulator need not run Node.

import { spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const commands = {
  allocate: 1,
  release: 2,
  write: 3,
  read: 4,
  run: 5,
  stress: 6,
  create: 7,
  destroy: 8,
  stop: 9,
};

// A program that has ended is told by the error of the call that wrote to it.
process.on('SIGPIPE', () => {});

/**
 * Starts the program by `command`; its pipes and what it writes to its error stream lie in `folder`. The address space is
 * one for all machines (see cpu-backend.ts) made in it.
 */
export function startProcess(command, environment, folder) {
  const [requests, replies, log] = ['requests', 'replies', 'log'].map((name) => join(folder, name));
  for (const path of [requests, replies]) {
    rmSync(path, { force: true });
    if (spawnSync('mkfifo', [path]).status !== 0) throw new Error(`mkfifo ${path} failed`);
  }
  const errors = openSync(log, 'w');
  const child = spawn(command[0], [...command.slice(1), requests, replies], {
    stdio: ['ignore', errors, errors],
    env: { ...process.env, ...environment },
  });
  closeSync(errors);
  child.unref(); // it ends when its pipe does
  const ended = new Promise((done) => child.on('close', (code, signal) => done(code ?? signal)));
  const [to, from] = [openSync(requests, 'w'), openSync(replies, 'r')];
  const bytesOf = (data) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const send = (bytes) => {
    for (let at = 0; at < bytes.length; ) at += writeSync(to, bytes, at);
  };
  const receive = (bytes) => {
    for (let at = 0; at < bytes.length; ) {
      const got = readSync(from, bytes, at, bytes.length - at, null);
      if (got === 0) throw new Error(`the kernels ended: ${readFileSync(log, 'utf8').slice(-2000)}`);
      at += got;
    }
  };
  const ask = (command, first = 0, size = 0) =>
    send(bytesOf(Float64Array.of(commands[command], first, size, 0)));
  const answer = () => {
    const number = new Float64Array(1);
    receive(bytesOf(number));
    return number[0];
  };
  const names = Buffer.alloc(answer());
  receive(names);

  /** The functions of the add-on (native.cc). */
  const addon = {
    instructionSets: () => names.toString(),
    create(threads, instructionSet) {
      ask('create', threads, instructionSet.length);
      send(Buffer.from(instructionSet));
      const engine = answer();
      if (engine === 0) throw new Error('this processor does not have that instruction set');
      return engine;
    },
    destroy: (engine) => ask('destroy', engine),
    allocate(_engine, bytes) {
      ask('allocate', 0, bytes);
      return answer();
    },
    release: (_engine, address) => ask('release', address),
    write(address, data) {
      ask('write', address, data.byteLength);
      send(bytesOf(data));
    },
    read(address, into) {
      ask('read', address, into.byteLength);
      receive(bytesOf(into));
    },
    run(engine, words) {
      ask('run', engine, words.length);
      send(bytesOf(words));
      return answer();
    },
  };
  return {
    addon,
    createMachine(threads, instructionSet) {
      const engine = addon.create(threads, instructionSet);
      return {
        allocate: (bytes) => addon.allocate(engine, bytes),
        release: (address) => addon.release(engine, address),
        write: addon.write,
        read: addon.read,
        run: (words) => addon.run(engine, words) === 0,
        dispose: () => addon.destroy(engine),
      };
    },
    stress(threads) {
      ask('stress', threads);
      return answer() === 1;
    },
    async finish() {
      child.ref();
      try {
        ask('stop');
      } catch {
        // It has ended already; its exit code and report follow.
      }
      closeSync(to);
      const code = await ended;
      closeSync(from);
      return { code, report: readFileSync(log, 'utf8') };
    },
  };
}
