import { serve } from '@minke/serving';
import { modelFolder } from '@minke/tiny-reasoner';

const server = await serve({ modelFolder, port: 0 }); // a folder of config.json, safetensors, tokenizer.json
const response = await fetch(`${server.url}/v1/chat/completions`, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({
    model: 'tiny-reasoner',
    messages: [{ role: 'user', content: 'What is 348 + 977?' }],
    temperature: 0,
  }),
});
const { choices } = (await response.json()) as { choices: { message: Record<string, string> }[] };
console.log(choices[0]?.message.reasoning_content); // 348+977, 8+7=15, ...
console.log(choices[0]?.message.content); // The answer is 1325.
await server.close();
