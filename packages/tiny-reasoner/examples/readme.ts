import { auto } from '@minke/gpu-backends';
import { chat, Engine, loadLanguageModel } from '@minke/inference';
import { modelFolder } from '@minke/tiny-reasoner';

const backend = await auto();
const language = await loadLanguageModel(modelFolder, { backend });
const engine = new Engine(language.model);
const question = [{ role: 'user', content: 'What is 348 + 977?' }] as const;
for await (const part of chat(engine, language, question)) {
  process.stdout.write(part.thought ?? part.text);
}
await engine.dispose();
backend.dispose();
