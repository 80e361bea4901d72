"""An exchange in a box: engine, tapes, the Binance and Bybit faces, a meter; no bot code."""
