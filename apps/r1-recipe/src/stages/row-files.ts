/** Rows of a stage as a JSON lines file in the Hub's chat format, which `readConversations` reads back. */
import { writeFileSync } from 'node:fs';
import type { Row } from '../data/index.ts';

/** Writes rows, one a line. */
export function writeRows(path: string, rows: readonly Row[]): void {
  const lines = rows.map(({ question, reasoning, answer, ...columns }) => {
    const assistant = { role: 'assistant', content: answer, reasoning_content: reasoning };
    return JSON.stringify({ messages: [{ role: 'user', content: question }, assistant], ...columns });
  });
  writeFileSync(path, lines.map((line) => `${line}\n`).join(''));
}
