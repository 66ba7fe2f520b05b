% A figure of three objects, after the patterns of Kandinsky: are their shapes the same, two of a kind or all different; are
% their colours; and is one of them a warning, a red triangle? Only these three answers are observed.
% Comparisons tell symbols apart without naming them; the warning names two. So four maps fit all answers: circle and
% square may be exchanged, and so may amber and green.

nn(shape_net, [X], S, [circle, square, triangle]) :: shape(X, S).
nn(colour_net, [X], C, [red, amber, green]) :: colour(X, C).

figure(A, B, C, Shapes, Colours, Warning) :-
    shape(A, S1), shape(B, S2), shape(C, S3), compare(S1, S2, S3, Shapes),
    colour(A, C1), colour(B, C2), colour(C, C3), compare(C1, C2, C3, Colours),
    warning(S1-C1, S2-C2, S3-C3, Warning).

compare(V, V, V, same).
compare(V, V, W, pair) :- V \= W.
compare(V, W, V, pair) :- V \= W.
compare(W, V, V, pair) :- V \= W.
compare(V, W, U, different) :- V \= W, W \= U, V \= U.

warning(triangle-red, _, _, yes).
warning(X, triangle-red, _, yes) :- X \= triangle-red.
warning(X, Y, triangle-red, yes) :- X \= triangle-red, Y \= triangle-red.
warning(X, Y, Z, no) :- X \= triangle-red, Y \= triangle-red, Z \= triangle-red.
