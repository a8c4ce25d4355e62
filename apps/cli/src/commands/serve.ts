/** `minke serve`: the HTTP server and its page. */
import { serve } from '@minke/serving';
import type { Command } from 'commander';
import { addBackendOptions, type BackendOptions, embeddedModel, nonNegativeInteger } from '../options.ts';

interface Options extends BackendOptions {
  readonly port?: number;
  readonly host: string;
}

export function addServe(program: Command): void {
  const command = program
    .command('serve')
    .description('serve a model over an OpenAI- and DeepSeek-compatible API, with a chat page')
    .argument(
      '[folder]',
      'model folder (config.json, safetensors, tokenizer.json); default: the embedded model',
      embeddedModel,
    )
    .option('--port <n>', 'port; 0 picks a free one (default: PORT, else 8000)', nonNegativeInteger)
    .option(
      '--host <address>',
      'address to bind; anything but loopback opens the server to the network',
      '127.0.0.1',
    );
  addBackendOptions(command).action(async (folder: string, options: Options) => {
    const port = options.port ?? nonNegativeInteger(process.env.PORT || '8000');
    const server = await serve({
      modelFolder: folder,
      port,
      host: options.host,
      ...(options.backend === undefined ? {} : { backend: options.backend }),
      ...(options.threads === undefined ? {} : { threads: options.threads }),
    });
    process.stdout.write(`listening on ${server.url}\n`);
    await new Promise<void>((resolve) => {
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
    });
    await server.close();
  });
}
