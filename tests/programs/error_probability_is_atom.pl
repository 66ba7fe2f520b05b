% A probability that is an atom: a constant written without its value.
%% error: ArithmeticError

likely::rain.

query(rain).
