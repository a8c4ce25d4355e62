/**
 * Reads a chat completion stream (server-sent events, OpenAI's chunks with DeepSeek's `reasoning_content`).
 *
 * Text never becomes HTML here or in the page. Comments and blank lines are keep-alives. An event with an
 * `error` object, and a stream that ends without a finish reason, are errors.
 */

/** The server's message for a failed response, or its status. */
async function failure(response) {
  const body = await response.json().catch(() => null);
  return new Error(body?.error?.message ?? `the server answered ${response.status}`);
}

/**
 * Asks and yields what arrives: `{ thought }`, `{ text }`, and at the end `{ usage, finish }`.
 * @param {{ model: string, messages: { role: string, content: string }[], signal: AbortSignal }} request
 */
export async function* askStream({ model, messages, signal }) {
  const response = await reach('/v1/chat/completions', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model, messages, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  if (!response.ok) throw await failure(response);
  let finish = null;
  let usage = null;
  for await (const data of events(response.body)) {
    if (data === '[DONE]') break;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Error(chunk.error.message);
    usage = chunk.usage ?? usage;
    const choice = chunk.choices?.[0];
    if (!choice) continue;
    if (choice.delta.reasoning_content) yield { thought: choice.delta.reasoning_content };
    if (choice.delta.content) yield { text: choice.delta.content };
    finish = choice.finish_reason ?? finish;
  }
  if (finish === null) throw new Error('the connection ended before the answer did');
  yield { finish, usage };
}

/** `fetch`, with a sentence a reader understands where there is no connection. */
function reach(url, options) {
  return fetch(url, options).catch((error) => {
    throw error.name === 'AbortError' ? error : new Error('the server does not answer; is it still running?');
  });
}

/** The `data` of each server-sent event. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    pending += value;
    const lines = pending.split('\n');
    pending = lines.pop();
    for (const line of lines) if (line.startsWith('data: ')) yield line.slice(6).trimEnd();
  }
}
