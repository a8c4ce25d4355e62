/** `minke serve`: the HTTP server and its page. */
import type { CacheType, QuantizedStorage } from '@minke/inference';
import { type RunningServer, serve } from '@minke/serving';
import { type Command, InvalidArgumentError, Option } from 'commander';
import {
  addBackendOptions,
  addCacheTypeOption,
  addModelArgument,
  addQuantizeOption,
  type BackendOptions,
  nonNegativeInteger,
  positiveInteger,
} from '../options.ts';

interface Options extends BackendOptions {
  readonly port: number;
  readonly host: string;
  readonly maxSequences?: number;
  readonly maxWaiting?: number;
  readonly quantize?: QuantizedStorage;
  readonly cacheType?: CacheType;
}

export function addServe(program: Command): void {
  const command = program
    .command('serve')
    .description('serve a model over an OpenAI- and DeepSeek-compatible API, with a chat page')
    .addOption(
      new Option('--port <n>', '0 picks a free port').env('PORT').argParser(portNumber).default(8000),
    )
    .option(
      '--host <address>',
      'address to bind; anything but loopback opens the server to the network',
      '127.0.0.1',
    )
    .option('--max-sequences <n>', 'requests computed together (default: 16)', positiveInteger)
    .option('--max-waiting <n>', 'requests that may wait beyond those (default: 256)', nonNegativeInteger);
  addModelArgument(command);
  addQuantizeOption(command);
  addCacheTypeOption(command);
  addBackendOptions(command).action(async (modelFolder: string, options: Options) => {
    const server = await serve({ modelFolder, ...options });
    process.stdout.write(`listening on ${server.url}\n`);
    process.exitCode = await untilSignal(server);
  });
}

/** Ends the server on SIGINT or SIGTERM, a second one ends the process; returns the exit code. */
async function untilSignal(server: RunningServer): Promise<number> {
  const code = await new Promise<number>((resolve) => {
    process.on('SIGINT', () => resolve(130)).on('SIGTERM', () => resolve(0));
  });
  const hurry = () => process.exit(130);
  process.on('SIGINT', hurry).on('SIGTERM', hurry);
  await server.close();
  return code;
}

function portNumber(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text.trim()) && port <= 65535) return port;
  throw new InvalidArgumentError('expected a port from 0 to 65535.');
}
