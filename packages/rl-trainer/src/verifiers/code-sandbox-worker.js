// The thread of a code sandbox: runs one test of one program in a fresh QuickJS, compiled to WebAssembly.
//
// The border is the WebAssembly instance: the program sees what QuickJS has (the language, no I/O, no clock beyond
// Date, no modules) and the few functions given here. Expected results stay outside, so a program cannot read them; its own
// results leave as text made by the JSON.stringify of before the program ran. Time inside QuickJS is limited by its
// interrupt handler; loops in its built-in functions do not ask that handler, so the parent ends this thread then.
// Plain JavaScript, since Node loads it as it is from the sources, too.

import { parentPort } from 'node:worker_threads';
import variant from '@jitl/quickjs-wasmfile-release-sync';
import { newQuickJSWASMModuleFromVariant } from 'quickjs-emscripten-core';

let quickjs = await newQuickJSWASMModuleFromVariant(variant);
parentPort.postMessage({ type: 'ready' });

parentPort.on('message', async ({ id, program, test, limits }) => {
  let outcome = { status: 'memory', message: 'the interpreter failed' };
  try {
    const runtime = quickjs.newRuntime();
    runtime.setMemoryLimit(limits.memoryBytes);
    runtime.setMaxStackSize(limits.stackBytes);
    const deadline = performance.now() + limits.timeMs;
    runtime.setInterruptHandler(() => performance.now() > deadline);
    const context = runtime.newContext();
    outcome = judge(runtime, context, program, test, limits, deadline);
    context.dispose();
    runtime.dispose();
  } catch {
    // The instance itself failed, for example at its own stack or while freeing: it is not used again.
    quickjs = await newQuickJSWASMModuleFromVariant(variant);
  }
  parentPort.postMessage({ type: 'outcome', id, outcome });
});

function judge(runtime, context, program, test, limits, deadline) {
  const printed = [];
  let printedLength = 0;
  let tooMuch = false;
  const define = (object, name, body) =>
    context.newFunction(name, body).consume((handle) => context.setProp(object, name, handle));
  const print = (...values) => {
    const line = values.map((value) => context.getString(value)).join(' ');
    printedLength += line.length + 1;
    tooMuch ||= printedLength > limits.outputLength;
    if (tooMuch) throw new Error('too much output');
    printed.push(line);
  };
  const lines = (test.stdin ?? '').split('\n');
  let nextLine = 0;
  const readline = () => (nextLine < lines.length ? context.newString(lines[nextLine++]) : context.null);
  define(context.global, 'print', print);
  define(context.global, 'readline', readline);
  context.newString(test.stdin ?? '').consume((handle) => context.setProp(context.global, 'input', handle));
  context.newObject().consume((console) => {
    for (const name of ['log', 'info', 'debug']) define(console, name, print);
    for (const name of ['error', 'warn']) define(console, name, () => {});
    context.setProp(context.global, 'console', console);
  });

  const stringify = own(context, 'JSON.stringify');
  const parse = own(context, 'JSON.parse');
  const held = [stringify, parse];
  const finish = (outcome) => {
    for (const handle of held) handle.dispose();
    return tooMuch ? { status: 'output', message: 'printed more than allowed' } : outcome;
  };

  /** The value of a result, or the outcome of its error. */
  const value = (result) => {
    if (result.error) {
      const outcome = describe(context, result.error, deadline);
      result.error.dispose();
      return { outcome };
    }
    held.push(result.value);
    return { handle: result.value };
  };
  /** A value, waited for if it is a promise. */
  const settled = (handle) => {
    for (;;) {
      const state = context.getPromiseState(handle);
      if (state.type === 'fulfilled') {
        if (!state.notAPromise) held.push(state.value);
        return { handle: state.value };
      }
      if (state.type === 'rejected') return value({ error: state.error });
      const jobs = runtime.executePendingJobs(100);
      if (jobs.error) return value(jobs);
      if (jobs.value === 0) return { outcome: { status: 'error', message: 'its promise never settles' } };
      if (performance.now() > deadline) return { outcome: { status: 'time', message: 'out of time' } };
    }
  };

  const ran = value(context.evalCode(program, 'program.js', { type: 'global' }));
  if (ran.outcome) return finish(ran.outcome);
  const done = settled(ran.handle);
  if (done.outcome) return finish(done.outcome);
  if (test.call === undefined) {
    for (;;) {
      const jobs = runtime.executePendingJobs(100);
      if (jobs.error) return finish(value(jobs).outcome);
      if (jobs.value === 0) break;
      if (performance.now() > deadline) return finish({ status: 'time', message: 'out of time' });
    }
    const same = sameLines(printed.join('\n'), test.stdout);
    return finish(same ? { status: 'passed' } : { status: 'failed', message: 'printed something else' });
  }

  const target = value(context.evalCode(test.call, 'test.js', { type: 'global' }));
  if (target.outcome) return finish(target.outcome);
  const args = [];
  for (const argument of test.args) {
    const text = context.newString(JSON.stringify(argument));
    held.push(text);
    const parsed = value(context.callFunction(parse, context.undefined, text));
    if (parsed.outcome) return finish(parsed.outcome);
    args.push(parsed.handle);
  }
  if (context.typeof(target.handle) !== 'function')
    return finish({ status: 'error', message: `${test.call} is not a function` });
  const returned = value(context.callFunction(target.handle, context.undefined, ...args));
  if (returned.outcome) return finish(returned.outcome);
  const result = settled(returned.handle);
  if (result.outcome) return finish(result.outcome);
  const text = value(context.callFunction(stringify, context.undefined, result.handle));
  if (text.outcome) return finish(text.outcome);
  if (context.typeof(text.handle) !== 'string')
    return finish({ status: 'failed', message: 'returned nothing that JSON can hold' });
  const length = context.getProp(text.handle, 'length').consume((handle) => context.getNumber(handle));
  if (length > limits.outputLength)
    return finish({ status: 'output', message: 'returned more than allowed' });
  const same = sameJson(JSON.parse(context.getString(text.handle)), test.expected);
  return finish(same ? { status: 'passed' } : { status: 'failed', message: 'returned something else' });
}

/** A built-in function as it is before the program runs. */
function own(context, path) {
  const result = context.evalCode(path);
  if (result.error) throw new Error('no memory for the language itself');
  return result.value;
}

function describe(context, error, deadline) {
  if (performance.now() > deadline) return { status: 'time', message: 'out of time' };
  const read = (name) =>
    context
      .getProp(error, name)
      .consume((handle) => (context.typeof(handle) === 'string' ? context.getString(handle) : ''));
  const isObject = context.typeof(error) === 'object' && !context.sameValue(error, context.null);
  const [name, message] = isObject ? [read('name'), read('message')] : ['', context.typeof(error)];
  if (name === 'InternalError' && message === 'out of memory') return { status: 'memory', message };
  // QuickJS throws null where there is no memory for the error itself.
  if (!isObject && context.sameValue(error, context.null))
    return { status: 'memory', message: 'out of memory' };
  return { status: 'error', message: `${name}: ${message}`.slice(0, 500) };
}

function sameLines(printed, wanted) {
  const normal = (text) =>
    text
      .replaceAll('\r', '')
      .split('\n')
      .map((line) => line.trimEnd())
      .join('\n')
      .trimEnd();
  return normal(printed) === normal(wanted);
}

/** Equality of JSON values; the order of keys plays no part. As deep as `wanted` is, however deep `found` is. */
function sameJson(found, wanted) {
  if (typeof wanted !== 'object' || wanted === null) return found === wanted;
  if (typeof found !== 'object' || found === null || Array.isArray(found) !== Array.isArray(wanted))
    return false;
  const keys = Object.keys(wanted);
  return (
    Object.keys(found).length === keys.length &&
    keys.every((key) => Object.hasOwn(found, key) && sameJson(found[key], wanted[key]))
  );
}
