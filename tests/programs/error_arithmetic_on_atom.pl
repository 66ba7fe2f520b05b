% Arithmetic on an atom.
%% error: ArithmeticError

0.5::price(tea, cheap).
total(T) :- price(tea, P), T is P + 1.

query(total(_)).
