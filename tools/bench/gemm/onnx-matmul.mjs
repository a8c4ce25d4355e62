// The bytes of an ONNX model with one MatMul, C [M, N] = A [M, K] B [K, N], f32: a protobuf message of the
// few fields that takes (onnx.proto3, IR version 8, operator set 17). B is an input, or with `weights` a
// constant of the model, which lets a runtime pack it once.

const FLOAT = 1;

/**
 * @param {{ M: number, N: number, K: number, weights?: Float32Array }} product
 * @returns {Uint8Array}
 */
export function matmulModel({ M, N, K, weights }) {
  const node = message(text(1, 'A'), text(1, 'B'), text(2, 'C'), text(4, 'MatMul'));
  const b = weights
    ? field(
        5,
        message(number(1, K), number(1, N), number(2, FLOAT), text(8, 'B'), field(9, bytesOf(weights))),
      )
    : field(11, value('B', [K, N]));
  const graph = message(
    field(1, node),
    text(2, 'matmul'),
    field(11, value('A', [M, K])),
    b,
    field(12, value('C', [M, N])),
  );
  const operatorSet = message(text(1, ''), number(2, 17));
  return message(number(1, 8), field(7, graph), field(8, operatorSet));
}

/** ValueInfoProto: a name and a tensor type of fixed shape. */
function value(name, shape) {
  const dimensions = shape.map((size) => field(1, number(1, size)));
  const tensor = message(number(1, FLOAT), field(2, message(...dimensions)));
  return message(text(1, name), field(2, field(1, tensor)));
}

const message = (...parts) => Buffer.concat(parts);
const bytesOf = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
const number = (id, n) => message(varint(id * 8), varint(n));
const field = (id, bytes) => message(varint(id * 8 + 2), varint(bytes.length), bytes);
const text = (id, string) => field(id, Buffer.from(string));

function varint(n) {
  const bytes = [];
  for (; n > 127; n = Math.floor(n / 128)) bytes.push((n % 128) + 128);
  return Buffer.from([...bytes, n]);
}
