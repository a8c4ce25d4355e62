/** `minke eval` with samples, records, comparison and endpoints, as a user runs it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deepseekR1Template, deepseekSpecialTokens } from '@minke/tokenizer-merging/chat';
import { trainBpe } from '@minke/tokenizer-merging/tokenizer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { spelledMarks } from './chat-marks.ts';
import { expectBuilt, runMinke } from './testing/run-minke.ts';

let folder: string;
const servers: Server[] = [];

/** Runs `minke eval` on few problems. */
const evaluate = (args: readonly string[], env: object = {}) =>
  runMinke(['eval', '--count', '3', ...args], { cwd: folder, env });

/** A server that answers every request with what `answer` says of its body. */
async function serve(answer: (body: string, authorization: string | undefined) => string): Promise<string> {
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    response.end(request.method === 'POST' ? answer(body, request.headers.authorization) : '{"data":[]}');
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
}

/** A slow machine says how far it is every ten seconds. */
const withoutProgress = (err: string) => err.replaceAll(/^\d+\/\d+ samples, \d+ right\n/gm, '');

beforeAll(() => {
  expectBuilt();
  folder = mkdtempSync(join(tmpdir(), 'minke-eval-'));
});
afterAll(() => {
  for (const server of servers) server.close();
  rmSync(folder, { recursive: true });
});

describe('minke eval --samples', () => {
  it('reports pass@k and maj@k, writes records, and compares with them', async () => {
    const first = await evaluate([
      '--families',
      'products,gcd',
      '--samples',
      '3',
      '--records',
      'a.jsonl',
      '--json',
    ]);
    expect([first.code, withoutProgress(first.err)]).toEqual([0, '']);
    const report = JSON.parse(first.out);
    expect(report.total).toMatchObject({ problems: 6, samples: 18 });
    expect(Object.keys(report.families.gcd.passAtK)).toEqual(['1', '2', '3']);
    expect(Object.keys(report.total.majorityAtK)).toEqual(['3']);
    expect(report.families.products.passAt1.value).toBe(1);
    expect(report.total.lenientPassAt1).not.toBeNull();
    const records = readFileSync(join(folder, 'a.jsonl'), 'utf8').trim().split('\n');
    expect(records).toHaveLength(18);
    // The same seeds give the same samples, whatever is computed together.
    const again = await evaluate([
      ...['--families', 'products,gcd', '--samples', '3', '--batch', '2'],
      ...['--records', 'b.jsonl', '--compare', 'a.jsonl'],
    ]);
    expect(again.code).toBe(0);
    expect(readFileSync(join(folder, 'b.jsonl'), 'utf8').trim().split('\n')).toEqual(records);
    expect(again.out).toMatch(/\| all \| 6 \| \+0\.0 \| \+0\.0 to \+0\.0 \| 1\.0000 \|/);
  });

  it('refuses a file to compare that is no file of records', async () => {
    writeFileSync(join(folder, 'no.jsonl'), '{"messages": []}\n');
    const { code, err } = await evaluate(['--compare', 'no.jsonl']);
    expect([code, err]).toEqual([1, expect.stringMatching(/^minke: no\.jsonl: line 1: expected id .*\n$/)]);
    const none = await evaluate(['--compare', 'none.jsonl']);
    expect([none.code, none.err]).toEqual([1, expect.stringMatching(/^minke: --compare: .*ENOENT.*\n$/)]);
  });
});

describe('minke eval --endpoint', () => {
  it('asks a server, with its key, and reads thoughts', async () => {
    const bodies: string[] = [];
    const url = await serve((body, authorization) => {
      bodies.push(`${authorization} ${body}`);
      const message = { content: 'The answer is 1.', reasoning_content: 'hm' };
      return JSON.stringify({
        choices: [{ message, finish_reason: 'stop' }],
        usage: { completion_tokens: 9 },
      });
    });
    const args = ['--endpoint', url, '--model', 'm', '--families', 'gcd', '--json'];
    const { code, out } = await evaluate(args, { OPENAI_API_KEY: 'secret' });
    expect(code).toBe(0);
    expect(JSON.parse(out).total).toMatchObject({ problems: 3, samples: 3, thought: 1, length: { mean: 9 } });
    expect(bodies).toHaveLength(3);
    expect(bodies[0]).toMatch(/^Bearer secret .*"model":"m".*"temperature":0/);
  });

  it('says when nothing answers, and when the answer is no chat completion', async () => {
    const down = await evaluate(['--endpoint', 'http://127.0.0.1:1/v1', '--model', 'm']);
    expect([down.code, down.err]).toEqual([
      1,
      expect.stringMatching(/^minke: eval: expected a server at http:\/\/127\.0\.0\.1:1\/v1, got .*\n$/),
    ]);
    const url = await serve(() => '<html>hello</html>');
    const odd = await evaluate(['--endpoint', url, '--model', 'm']);
    expect([odd.code, odd.err]).toEqual([
      1,
      expect.stringMatching(/^minke: .*<html>.*is it an OpenAI-compatible server\?\n$/),
    ]);
  });
});

describe('spelledMarks', () => {
  it('names the marks that a tokenizer has no token for', () => {
    const template = deepseekR1Template;
    const whole = trainBpe(['abc'], { vocabSize: 300, specialTokens: deepseekSpecialTokens });
    expect(spelledMarks({ tokenizer: whole, template })).toEqual([]);
    const without = trainBpe(['abc'], { vocabSize: 300, specialTokens: deepseekSpecialTokens.slice(0, 4) });
    expect(spelledMarks({ tokenizer: without, template })).toContain('</think>');
  });
});
