/**
 * Reverse-mode differentiation over an arena's tape.
 *
 * The tape holds operations in creation order, so the reverse of it is a valid order for the backward pass.
 * Gradients of results are transient and released as soon as the operation that made the result has used
 * them; gradients of leaves accumulate in a persistent buffer. An operation may accumulate into a leaf's
 * buffer itself (`gradBuffer`), which saves matrix products a temporary of the weight's size.
 */
import { check, formatShape, sameShape } from '@minke/core';
import type { Arena } from './arena.ts';
import { call, callOne, homeOf } from './call.ts';
import type { Tensor } from './tensor.ts';

/** One recorded operation. */
export interface GraphNode {
  /** Name in error messages. */
  readonly op: string;
  /** Position on the tape. */
  readonly index: number;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly backward: Backward;
}

/**
 * Gradients of the inputs from those of the outputs; null where there is none. Returned tensors pass to the
 * caller; whatever else was made inside is released afterwards.
 */
export type Backward = (
  grads: readonly (Tensor | null)[],
  outputs: readonly Tensor[],
) => readonly (Tensor | null | undefined)[];

/** Puts an operation on the tape when gradients are recorded and an input needs one. Returns its outputs. */
export function track(
  op: string,
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
  backward: Backward,
): readonly Tensor[] {
  const arena = outputs[0]?.arena;
  if (!arena?.recordsGradients || !inputs.some((input) => input.requiresGrad)) return outputs;
  const node: GraphNode = { op, index: arena.tape.length, inputs, outputs, backward };
  arena.tape.push(node);
  for (const output of outputs) if (output.dtype === 'f32') output.node = node;
  return outputs;
}

/** `track` for one output. */
export function trackOne(
  op: string,
  inputs: readonly Tensor[],
  output: Tensor,
  backward: (grad: Tensor) => readonly (Tensor | null | undefined)[],
): Tensor {
  track(op, inputs, [output], ([grad]) => backward(grad!));
  return output;
}

/** True when gradients of `t` go straight into a buffer: parameters, their aliases and views. */
export function isLeaf(t: Tensor): boolean {
  return t.leaf !== null;
}

/**
 * The gradient buffer of a leaf, for operations that accumulate into it themselves (as an in-out tensor of
 * `call`) and then return null for that input. Made of zeros at first use. Throws for other tensors.
 *
 * @example
 * call('matmulInto', [dy, x, gradBuffer(weight)], { transA: 1, transB: 0 });
 */
export function gradBuffer(leaf: Tensor): Tensor {
  check(
    isLeaf(leaf),
    () =>
      `gradBuffer: expected a parameter or a view of one, got ${formatShape(leaf.shape)} ${leaf.node ? `from ${leaf.node.op}` : 'without gradient'}`,
  );
  leaf.assertLive('gradBuffer');
  return leaf.leaf!.root.arena.gradientOf(leaf);
}

/**
 * The same buffer when its gradient was cleared and not touched since, for operations that can write all of it in
 * place of adding; null otherwise: then add to `gradBuffer`. Whoever gets the buffer must write it.
 *
 * @example
 * const fresh = freshGradBuffer(weight);
 * call('groupedSum', [dy, x, fresh ?? gradBuffer(weight)], { accumulate: fresh ? 0 : 1 });
 */
export function freshGradBuffer(t: Tensor): Tensor | null {
  const { leaf } = t;
  if (!leaf || leaf.cleared === null || leaf.cleared.disposed || t.size !== leaf.root.size) return null;
  t.assertLive('freshGradBuffer');
  leaf.cleared = null;
  return leaf.root.arena.gradientOf(t);
}

/**
 * An operation with its own gradient.
 *
 * `forward` runs without recording; `backward` gets the gradients of the outputs (null for unused ones) and
 * the outputs, and returns one gradient, or null, for each input. Skip work for inputs whose `requiresGrad`
 * is false. Temporaries made in `backward` are released on return; those of `forward` stay until the arena is
 * reset, as `backward` may use them.
 *
 * @param definition `name` appears in errors; `arena` is only needed when all inputs are persistent.
 * @example
 * const [y] = customOp({
 *   inputs: [x],
 *   forward: () => call('unary', [x], { kind: 'exp', a: 0, b: 0 }),
 *   backward: ([dy], [y]) => [mul(dy!, y!)],
 * });
 */
export function customOp(definition: {
  readonly inputs: readonly Tensor[];
  readonly forward: () => readonly Tensor[];
  readonly backward: Backward;
  readonly name?: string;
  readonly arena?: Arena;
}): Tensor[] {
  const { inputs, forward, backward, name = 'customOp' } = definition;
  const arena = definition.arena ?? homeOf(name, inputs);
  for (const input of inputs) input.assertLive(name);
  const outputs = arena.withoutGrad(forward).map((output) => {
    check(
      output.arena === arena,
      () => `${name}: expected outputs in arena "${arena.label}", got one in "${output.arena.label}"`,
    );
    return output.requiresGrad ? arena.view(output, output.shape, 0) : output;
  });
  track(name, inputs, outputs, backward);
  return outputs;
}

/** Backward pass from a one-element tensor; see `Tensor.backward`. */
export function backward(loss: Tensor): void {
  const { arena } = loss;
  loss.assertLive('backward');
  check(
    loss.size === 1,
    () => `backward: expected one element, got ${formatShape(loss.shape)}; take its sum or mean first`,
  );
  check(
    loss.requiresGrad,
    () => 'backward: expected a tensor that depends on a parameter, recorded in an arena with grad: true',
  );
  check(
    !arena.persistent,
    () => 'backward: expected a tensor of a step arena, got a persistent one; pass arena.adopt(tensor)',
  );
  const gradients = new Map<Tensor, Tensor>();
  arena.withoutGrad(() => {
    deliver(loss, arena.full(loss.shape, 1), gradients);
    for (let i = loss.node?.index ?? -1; i >= 0; i--) step(arena, arena.tape[i]!, gradients);
  });
}

/** Runs one operation's gradient and passes the results on. */
function step(arena: Arena, node: GraphNode, gradients: Map<Tensor, Tensor>): void {
  const { op, inputs, outputs } = node;
  const grads = outputs.map((output) => gradients.get(output) ?? null);
  if (grads.every((grad) => grad === null)) return;
  const results = arena.scope((made) => {
    const returned = node.backward(grads, outputs);
    check(
      returned.length === inputs.length,
      () => `${op}: expected backward to return ${inputs.length} gradients, got ${returned.length}`,
    );
    const taken = new Set<Tensor>();
    return returned.map((grad, k) => {
      const input = inputs[k]!;
      if (!grad || !input.requiresGrad) return null;
      check(
        sameShape(grad.shape, input.shape),
        () =>
          `${op}: expected a gradient of shape ${formatShape(input.shape)} for input ${k}, got ${formatShape(grad.shape)}`,
      );
      const ours = made.includes(grad) && !taken.has(grad);
      taken.add(grad);
      return ours ? grad : arena.view(grad, grad.shape, 0);
    });
  });
  outputs.forEach((output, k) => {
    gradients.delete(output);
    grads[k]?.dispose();
  });
  results.forEach((grad, k) => {
    if (grad !== null) deliver(inputs[k]!, grad, gradients);
  });
}

/** Adds `grad`, which passes to this function, to what `target` has received so far. */
function deliver(target: Tensor, grad: Tensor, gradients: Map<Tensor, Tensor>): void {
  if (isLeaf(target)) {
    const fresh = freshGradBuffer(target);
    if (fresh) call('copyInto', [grad, fresh], {});
    else call('accumulate', [grad, gradBuffer(target)], { scale: 1 });
    grad.dispose();
    return;
  }
  const sum = gradients.get(target);
  if (sum === undefined) {
    gradients.set(target, grad);
  } else if (sum.storage.handles === 1 && sum.owner) {
    call('accumulate', [grad, sum], { scale: 1 });
    grad.dispose();
  } else {
    gradients.set(target, callOne('binary', [sum, grad], { kind: 'add' }));
    sum.dispose();
    grad.dispose();
  }
}
