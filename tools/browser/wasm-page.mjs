// The WebAssembly kernels in a page: both builds conform to the reference on two threads where the page is cross-origin
// isolated, with the bits of one thread; without isolation they run on one thread and say why. The page imports the built
// packages from a server on a loopback address.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join, normalize } from 'node:path';
import { repositoryRoot } from '../scripts/process.mjs';
import { atLeast, check, contains, equal, openPage } from './harness.mjs';

const imports = {
  '@minke/core': '/packages/core/dist/index.js',
  '@minke/gpu-backends/conformance': '/packages/gpu-backends/dist/conformance.js',
  '@minke/gpu-backends/cpu': '/packages/gpu-backends/dist/cpu/index.js',
  '@minke/gpu-backends/reference': '/packages/gpu-backends/dist/reference/index.js',
};
const page = `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>kernels</title>
<script type="importmap">${JSON.stringify({ imports })}</script>`;
const isolation = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
};
const viewport = { width: 800, height: 600 };

/** @param browser of `launchBrowser` */
export async function checkWasmPage(browser) {
  const server = await serve();
  const { port } = server.address();
  try {
    const isolated = await openPage(browser, `http://127.0.0.1:${port}/isolated`, viewport);
    const plain = await openPage(browser, `http://127.0.0.1:${port}/plain`, viewport);
    const policed = await openPage(browser, `http://127.0.0.1:${port}/policed`, viewport);

    await check('both builds conform on two threads in an isolated page', async () => {
      const sets = ['simd128', 'relaxed-simd'];
      const results = await isolated.page.evaluate(conform, sets);
      for (const [i, { cases, failures, info }] of results.entries()) {
        equal(failures.join('\n'), '');
        atLeast(cases, 2000);
        equal(`${info.device} ${info.threads}`, `${sets[i]} 2`);
      }
    });

    await check('relaxed SIMD is what a page gets, with as many threads as it asks for', async () => {
      const { info } = await isolated.page.evaluate(product, { threads: 3 });
      equal(`${info.device} ${info.threads}`, 'relaxed-simd 3');
      contains(info.reason, 'on 3 threads');
    });

    await check('threads do not change a bit of a product', async () => {
      const one = await isolated.page.evaluate(product, { threads: 1 });
      const three = await isolated.page.evaluate(product, { threads: 3 });
      equal(three.bits, one.bits);
    });

    await check('a page that is not isolated runs on one thread and learns why', async () => {
      const { info, bits } = await plain.page.evaluate(product, { threads: 2 });
      equal(info.threads, 1);
      contains(info.reason, 'not cross-origin isolated');
      contains(info.reason, 'Cross-Origin-Opener-Policy: same-origin');
      equal(bits, (await isolated.page.evaluate(product, { threads: 2 })).bits);
    });

    await check('a page whose policy forbids its workers runs on one thread and learns why', async () => {
      const { info } = await policed.page.evaluate(product, { threads: 2 });
      equal(info.threads, 1);
      contains(info.reason, 'workers do not start');
    });

    await check('nothing to complain about in the console of the pages of kernels', async () => {
      equal([...isolated.complaints, ...plain.complaints].join('\n'), '');
    });
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

/** In the page: the suite, which the reference solves once, on a backend of two threads for each set of instructions. */
async function conform(instructionSets) {
  const { conformanceCases } = await import('@minke/gpu-backends/conformance');
  const { createWasm } = await import('@minke/gpu-backends/cpu');
  const { createReference } = await import('@minke/gpu-backends/reference');
  const cases = conformanceCases();
  const reference = createReference();
  const results = [];
  for (const instructionSet of instructionSets) {
    const backend = await createWasm({ threads: 2, instructionSet });
    const failures = [];
    for (const { name, run } of cases) {
      const { worst, tolerance, detail } = await run(backend, reference);
      if (!(worst <= tolerance)) failures.push(`${name}: ${worst} > ${tolerance}, ${detail}`);
    }
    results.push({ cases: cases.length, failures, info: backend.info });
    backend.dispose();
  }
  return results;
}

/** In the page: a product, as a hash of its bits, and what it ran on. */
async function product(options) {
  const { CommandList } = await import('@minke/core');
  const { createWasm } = await import('@minke/gpu-backends/cpu');
  const backend = await createWasm(options);
  const n = 300;
  const matrix = (seed) => {
    const buffer = backend.allocate('f32', n * n);
    backend.write(
      buffer,
      Float32Array.from({ length: n * n }, (_, i) => Math.sin(seed + i)),
    );
    return { buffer, dtype: 'f32', shape: [n, n], offset: 0 };
  };
  const [a, b, c] = [matrix(1), matrix(2), matrix(3)];
  const list = new CommandList();
  list.record('matmul', [a, b], [c], { transA: 0, transB: 0 });
  backend.submit(list);
  const result = new Int32Array(backend.readSync(c.buffer).buffer);
  const { info } = backend;
  backend.dispose();
  return { info, bits: result.reduce((hash, word) => (Math.imul(hash, 31) + word) | 0, 0) };
}

function serve() {
  const server = createServer(async (request, response) => {
    const path = new URL(request.url, 'http://loopback').pathname;
    if (['/isolated', '/plain', '/policed'].includes(path)) {
      const policy = { 'content-security-policy': "worker-src 'none'" };
      const headers = { ...(path === '/plain' ? {} : isolation), ...(path === '/policed' ? policy : {}) };
      response.writeHead(200, { 'content-type': 'text/html', ...headers }).end(page);
      return;
    }
    try {
      if (!/^\/packages\/[\w-]+\/dist\/[\w/.-]+\.js$/.test(path)) throw new Error('not served');
      const body = await readFile(join(repositoryRoot, normalize(path)));
      response
        .writeHead(200, { 'content-type': 'text/javascript', 'cross-origin-embedder-policy': 'require-corp' })
        .end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(server));
  });
}
