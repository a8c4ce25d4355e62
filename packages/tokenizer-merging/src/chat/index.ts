export { defaultTemplateLimits, type TemplateLimits } from './bounded-jinja.ts';
export { deepseekR1Template, deepseekSpecialTokens, deepseekTokens } from './deepseek-r1.ts';
export { type EncodedChat, encodeChat, encodeReply, type Reply } from './encode-chat.ts';
export { type ChatMessage, type ChatRole, checkMessages } from './message.ts';
export { ChatTemplate, type ChatTemplateOptions, type RenderOptions } from './template.ts';
export { type ThoughtDelta, ThoughtParser, type ThoughtParserOptions } from './thought-parser.ts';
export { endsInThought, type SplitAnswer, splitThought, thinkTags } from './thoughts.ts';
