"""An exchange in a box: matching engine, tapes, the Binance and Bybit faces, a meter, no bot code."""
