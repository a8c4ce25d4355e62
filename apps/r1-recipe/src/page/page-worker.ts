/** The page's thread: listens, says where, and closes when told. */
import { parentPort, workerData } from 'node:worker_threads';
import { type PageServer, servePage } from './page-server.ts';

const { folder, port } = workerData as { readonly folder: string; readonly port: number };

let server: PageServer | undefined;
try {
  server = await servePage(folder, port);
  parentPort?.postMessage({ url: server.url });
} catch (problem) {
  parentPort?.postMessage({ problem: (problem as Error).message });
  parentPort?.close();
}
parentPort?.on('message', () => {
  void server?.close().finally(() => parentPort?.close());
});
