% How far apart are two digits? Each is seen as an image.
% Reading every digit d as 9 - d leaves all distances as they are: two readings fit, and answers do not tell which is right.

nn(digit_net, [X], Y, [0..9]) :: digit(X, Y).

distance(X, Y, D) :- digit(X, A), digit(Y, B), D is abs(A - B).

% With a sign the difference tells which digit is the greater, and the right reading alone is left: --query "subtraction(X, Y, D)".
subtraction(X, Y, D) :- digit(X, A), digit(Y, B), D is A - B.
