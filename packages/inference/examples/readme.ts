import { auto } from '@minke/gpu-backends';
import { chat, defaultSampling, Engine } from '@minke/inference';
import { Arena } from '@minke/tensor';
import { deepseekR1Template, deepseekSpecialTokens } from '@minke/tokenizer-merging/chat';
import { trainBpe } from '@minke/tokenizer-merging/tokenizer';
import { DeepSeekModel, presets } from '@minke/transformer';

// Random weights say random things; `loadLanguageModel(folder, { backend })` reads a trained model instead.
const tokenizer = trainBpe(['What is 348 + 977?'], { vocabSize: 263, specialTokens: deepseekSpecialTokens });
const size = { vocabSize: 263, hiddenSize: 32, intermediateSize: 64, numLayers: 2, numHeads: 2, moe: null };
const config = { ...presets['DeepSeek-V2-Lite'], ...size, bosTokenId: 0, eosTokenIds: [1] };
const arena = new Arena(await auto(), { persistent: true, label: 'model' });
const model = DeepSeekModel.init(config, { arena, seed: 0 });
const format = { tokenizer, template: deepseekR1Template, stopTokenIds: [1], sampling: defaultSampling };

const engine = new Engine(model, { contextLength: 128, maxSequences: 8 });
const question = [{ role: 'user', content: 'What is 348 + 977?' }] as const;
for await (const part of chat(engine, format, question, { maxTokens: 24, seed: 7 })) {
  if (part.finish) console.log(part.finish, part.usage);
  else process.stdout.write(part.thought ?? part.text);
}
await engine.dispose();
