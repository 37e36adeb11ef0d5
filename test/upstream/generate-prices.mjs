// node generate-prices.mjs <dir>: writes the price files, the same ones each time.
import { generateAll } from './prices.mjs'

const dir = process.argv[2]
if (!dir) {
  console.error('usage: node generate-prices.mjs <dir>')
  process.exit(2)
}
await generateAll(dir)
