// The bytes of an ONNX model with one MatMulNBits (com.microsoft): y [M, N] = x w^T, w of `bits` bits in blocks of 32
// along K with f32 scales, symmetric. Accuracy level 4 lets the runtime round x to 8 bits, as we do.

const [FLOAT, BYTES, INT] = [1, 2, 2];

/**
 * @param {{ N: number, K: number, bits: number, weights: Uint8Array, scales: Float32Array }} product
 * @returns {Uint8Array}
 */
export function nbitsModel({ N, K, bits, weights, scales }) {
  const settings = { K, N, bits, block_size: 32, accuracy_level: 4 };
  const attributes = Object.entries(settings).map(([name, value]) =>
    field(5, Buffer.concat([text(1, name), number(3, value), number(20, INT)])),
  );
  const node = Buffer.concat([
    ...['x', 'w', 'scales'].map((name) => text(1, name)),
    text(2, 'y'),
    text(4, 'MatMulNBits'),
    ...attributes,
    text(7, 'com.microsoft'),
  ]);
  const graph = Buffer.concat([
    field(1, node),
    text(2, 'linear'),
    field(5, constant('w', BYTES, [N, K / 32, 4 * bits], weights)),
    field(5, constant('scales', FLOAT, [N, K / 32], scales)),
    field(11, value('x', ['M', K])),
    field(12, value('y', ['M', N])),
  ]);
  const sets = [
    ['', 17],
    ['com.microsoft', 1],
  ].map(([domain, version]) => field(8, Buffer.concat([text(1, domain), number(2, version)])));
  return Buffer.concat([number(1, 8), field(7, graph), ...sets]);
}

function constant(name, type, shape, data) {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return Buffer.concat([...shape.map((n) => number(1, n)), number(2, type), text(8, name), field(9, bytes)]);
}

/** ValueInfoProto: a name and a tensor type, a word for an open dimension. */
function value(name, shape) {
  const sizes = shape.map((n) => field(1, typeof n === 'string' ? text(2, n) : number(1, n)));
  const tensor = Buffer.concat([number(1, FLOAT), field(2, Buffer.concat(sizes))]);
  return Buffer.concat([text(1, name), field(2, field(1, tensor))]);
}

const number = (id, n) => Buffer.concat([varint(id * 8), varint(n)]);
const field = (id, bytes) => Buffer.concat([varint(id * 8 + 2), varint(bytes.length), bytes]);
const text = (id, string) => field(id, Buffer.from(string));

function varint(n) {
  const bytes = [];
  for (; n > 127; n = Math.floor(n / 128)) bytes.push((n % 128) + 128);
  return Buffer.from([...bytes, n]);
}
