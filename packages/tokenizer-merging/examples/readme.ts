import {
  deepseekR1Template,
  deepseekSpecialTokens,
  encodeChat,
  ThoughtParser,
} from '@minke/tokenizer-merging/chat';
import { Tokenizer, trainBpe } from '@minke/tokenizer-merging/tokenizer';

// Train a small vocabulary, write it as a tokenizer.json, read it back.
const trained = trainBpe(['What is 348 + 977? The answer is 1325.', 'What is 12 + 30? The answer is 42.'], {
  vocabSize: 280,
  specialTokens: deepseekSpecialTokens,
  digits: 'individual',
});
const tokenizer = Tokenizer.fromJson(JSON.parse(JSON.stringify(trained.toJson())));

// A prompt whose control tokens come from the template alone: this user's <think> is plain text.
const prompt = encodeChat(tokenizer, deepseekR1Template, [{ role: 'user', content: 'What is <think>?' }]);
console.log(prompt.text, prompt.ids.length, 'tokens');

// A reply, token by token: never half a character, thought apart from answer.
const reply = tokenizer.encode('Hm, 🐋.\n</think>\n\nThe answer is 42.', { allowSpecial: true });
const stream = tokenizer.streamDecoder();
const parser = new ThoughtParser({ startInThought: prompt.opensThought });
const deltas = [...reply].flatMap((id) => parser.push(stream.push(id)));
console.log([...deltas, ...parser.push(stream.flush()), ...parser.flush()]);
