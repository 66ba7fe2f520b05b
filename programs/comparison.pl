% Which of two digits is the greater? Each is seen as an image; only their order is observed, never a digit.

nn(digit_net, [X], Y, [0..9]) :: digit(X, Y).

order(X, Y, less) :- digit(X, A), digit(Y, B), A < B.
order(X, Y, equal) :- digit(X, A), digit(Y, A).
order(X, Y, greater) :- digit(X, A), digit(Y, B), A > B.
