/** What part of a model a tensor is, by its name in published checkpoints and in GGUF files, and sums over the parts. */

/** A tensor as the header of its file has it. */
export interface TensorRow {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Bytes in the file. */
  readonly bytes: number;
  readonly file: string;
}

/** The tensors of one part. */
export interface TensorGroup {
  readonly kind: TensorKind;
  readonly tensors: number;
  /** Numbers of the model: scales of other tensors are not counted. */
  readonly numbers: number;
  readonly bytes: number;
  /** Bytes of each type. */
  readonly dtypes: Readonly<Record<string, number>>;
}

/** Parts by the patterns of their names, the first that matches. */
const kinds = [
  ['embedding', /^(model\.embed_tokens|token_embd)\./],
  ['head', /^(lm_head|output)\./],
  ['merging', /^merging\./],
  ['norm', /norm\./],
  ['shared expert', /\.(shared_experts|ffn_\w+_shexp)\./],
  ['expert', /\.(experts|ffn_\w+_exps)[.]/],
  ['gate', /\.(mlp\.gate|ffn_gate_inp|exp_probs_b)\./],
  ['indexer', /\.indexer[._]/],
  ['attention', /\.(self_attn\.|attn_)/],
  ['feed-forward', /\.(mlp\.|ffn_)/],
] as const satisfies readonly (readonly [string, RegExp])[];

export type TensorKind = (typeof kinds)[number][0] | 'MTP module' | 'other';

/** The part that a tensor belongs to. @param numLayers layers from this number on are MTP modules */
export function kindOf(name: string, numLayers: number): TensorKind {
  const layer = /^(?:model\.layers|blk)\.(\d+)\./.exec(name)?.[1];
  if (layer !== undefined && Number(layer) >= numLayers) return 'MTP module';
  return kinds.find(([, pattern]) => pattern.test(name))?.[0] ?? 'other';
}

/** Parts in the order of a forward pass. */
const order: readonly TensorKind[] = [
  'embedding',
  'norm',
  'attention',
  'indexer',
  'feed-forward',
  'gate',
  'expert',
  'shared expert',
  'merging',
  'head',
  'MTP module',
  'other',
];

/** FP8's scales, and those of checkpoints that "minke quantize" wrote, whose U8 holds two numbers in a byte. */
const scales = /(_scale_inv|_scale)$/;

/** Sums over the parts that there are, in the order of a forward pass. */
export function groupTensors(tensors: readonly TensorRow[], numLayers: number): TensorGroup[] {
  const names = new Set(tensors.map(({ name }) => name));
  const membersOf = new Map<TensorKind, TensorRow[]>(order.map((kind) => [kind, []]));
  for (const tensor of tensors) membersOf.get(kindOf(tensor.name, numLayers))?.push(tensor);
  return order.flatMap((kind) => {
    const members = membersOf.get(kind) as TensorRow[];
    if (members.length === 0) return [];
    const dtypes: Record<string, number> = {};
    let [numbers, bytes] = [0, 0];
    for (const { name, dtype, shape, bytes: size } of members) {
      dtypes[dtype] = (dtypes[dtype] ?? 0) + size;
      bytes += size;
      if (!scales.test(name) || !names.has(name.replace(scales, '')))
        numbers += shape.reduce(
          (product, n) => product * n,
          dtype === 'U8' && names.has(`${name}_scale`) ? 2 : 1,
        );
    }
    return [{ kind, tensors: members.length, numbers, bytes, dtypes }];
  });
}
