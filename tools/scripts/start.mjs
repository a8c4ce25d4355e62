// `npm start [-- --port N]`: does all set-up that is still missing, then serves the embedded model.

import { runApplication } from './application.mjs';
import { ensureBuilt, setUpOrExit } from './setup.mjs';

await setUpOrExit(ensureBuilt);
await runApplication(['serve', ...process.argv.slice(2)]);
